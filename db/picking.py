"""Picking candidates by number, as many in one query as databases take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from evonas.db.columns import Base
from evonas.db.models import CandidateRow
from evonas.db.rows import Within

CHUNK = 500
"""Candidates per query: far under any limit on parameters, few enough to hold."""
GREATEST = 2**31 - 1
"""Greatest run id or candidate number that an integer column holds everywhere."""


def count(connection: Connection, run_id: int) -> int:
    """How many candidates a run has."""
    counted = select(func.count()).select_from(CandidateRow).where(CandidateRow.run_id == run_id)
    return connection.execute(counted).scalar_one()


def picked(run_id: int, numbers: Sequence[int]) -> Within:
    """A condition that picks the candidates with these numbers."""
    storable = [int(number) for number in numbers if 0 <= number <= GREATEST]

    def within(table: Any) -> ColumnElement[bool]:
        return and_(table.run_id == run_id, table.number.in_(storable))

    return within


def between(run_id: int, first: int, last: int) -> Within:
    """A condition that picks the candidates from one number to another, both included."""

    def within(table: Any) -> ColumnElement[bool]:
        return and_(table.run_id == run_id, table.number.between(first, last))

    return within


def known(connection: Connection, table: type[Base], run_id: int, numbers: Iterable[int]) -> set[int]:
    """Those of `numbers` that the table has."""
    column = table.__table__.c.number
    found: set[int] = set()
    for chunk in chunks(sorted(numbers)):
        found.update(connection.scalars(select(column).where(picked(run_id, chunk)(table))))
    return found


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """The numbers, `CHUNK` at a time."""
    return (numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK))
