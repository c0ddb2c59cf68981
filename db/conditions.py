"""SQL conditions on candidates by number, in chunks that every database accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from evonas.db.column_types import Base
from evonas.db.models import CandidateRow

RowCondition = Callable[[type[Any]], ColumnElement[bool]]
"""Makes the condition that selects the rows of some candidates from a given table."""
CHUNK = 500
"""Candidates per query: far below any database's limit on parameters, and few enough to hold in memory."""
MAX_NUMBER = 2**31 - 1
"""The greatest run id or candidate number that an integer column holds in every database."""


def count_candidates(connection: Connection, run_id: int) -> int:
    """The number of candidates of a run."""
    counted = select(func.count()).select_from(CandidateRow).where(CandidateRow.run_id == run_id)
    return connection.execute(counted).scalar_one()


def with_numbers(run_id: int, numbers: Sequence[int]) -> RowCondition:
    """The condition for the candidates with these numbers."""
    storable = [int(number) for number in numbers if 0 <= number <= MAX_NUMBER]

    def condition(table: Any) -> ColumnElement[bool]:
        return and_(table.run_id == run_id, table.number.in_(storable))

    return condition


def between(run_id: int, first: int, last: int) -> RowCondition:
    """The condition for the candidates from number `first` to number `last`, inclusive."""

    def condition(table: Any) -> ColumnElement[bool]:
        return and_(table.run_id == run_id, table.number.between(first, last))

    return condition


def recorded_numbers(connection: Connection, table: type[Base], run_id: int, numbers: Iterable[int]) -> set[int]:
    """The members of `numbers` for which the table has a row of the run."""
    column = table.__table__.c.number
    found: set[int] = set()
    for chunk in chunks(sorted(numbers)):
        found.update(connection.scalars(select(column).where(with_numbers(run_id, chunk)(table))))
    return found


def chunks(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Split the numbers into pieces of `CHUNK`."""
    return (numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK))
