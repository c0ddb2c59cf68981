"""What a search that goes on has to know of a run, asked for in few queries."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, select

from evonas.db import picking
from evonas.db.models import CandidateRow, EvaluationRow, Outcome
from evonas.db.rows import Within
from evonas.settings.candidate import Known, Status

CHUNK = 10_000
"""Candidates whose keys are read at once."""


def read_known(connection: Connection, within: Within) -> list[Known]:
    """What proposals are compared with of the candidates that the condition picks, by index."""
    columns = CandidateRow.key, CandidateRow.functional_key, CandidateRow.start
    found = connection.execute(select(*columns).where(within(CandidateRow)).order_by(CandidateRow.number))
    return [Known(*row) for row in found]


def unevaluated(connection: Connection, run_id: int) -> Sequence[int]:
    """Numbers of candidates without evaluation, in order."""
    evaluated = and_(EvaluationRow.run_id == CandidateRow.run_id, EvaluationRow.number == CandidateRow.number)
    missing = (
        select(CandidateRow.number)
        .where(CandidateRow.run_id == run_id)
        .where(~select(EvaluationRow.number).where(evaluated).exists())
    )
    return connection.scalars(missing.order_by(CandidateRow.number)).all()


def newest(connection: Connection, run_id: int, before: int, limit: int) -> Sequence[int]:
    """Numbers of the last scored candidates below a number, in order."""
    scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
    found = select(EvaluationRow.number).where(scored, EvaluationRow.number < min(before, picking.GREATEST))
    last = found.order_by(EvaluationRow.number.desc()).limit(min(max(limit, 0), picking.GREATEST))
    return connection.scalars(last).all()[::-1]


def filter_values(connection: Connection, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
    """The last values of a filter below a number, in order."""
    measured = and_(Outcome.run_id == run_id, Outcome.filter == name, Outcome.value.is_not(None))
    found = select(Outcome.value).where(measured, Outcome.number < min(before, picking.GREATEST))
    last = found.order_by(Outcome.number.desc()).limit(min(max(limit, 0), picking.GREATEST))
    return connection.scalars(last).all()[::-1]
