"""The queries by which a resumed search reads its run."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

from sqlalchemy import Connection, and_, select
from sqlalchemy.orm import aliased

from evonas.db import conditions
from evonas.db.conditions import RowCondition
from evonas.db.models import CandidateRow, EvaluationRow, Outcome
from evonas.settings.candidate import QUALITY, CandidateKeys, Ending, Status

CHUNK = 10_000
"""Candidates whose keys are read in one query."""


def read_keys(connection: Connection, condition: RowCondition) -> list[CandidateKeys]:
    """The keys of the candidates that the condition selects, in order of number."""
    columns = CandidateRow.key, CandidateRow.functional_key, CandidateRow.start
    found = connection.execute(select(*columns).where(condition(CandidateRow)).order_by(CandidateRow.number))
    return [CandidateKeys(*row) for row in found]


def read_endings(connection: Connection, condition: RowCondition) -> list[Ending]:
    """How the evaluations that the condition selects ended, in order of number."""
    of_candidate = and_(CandidateRow.run_id == EvaluationRow.run_id, CandidateRow.number == EvaluationRow.number)
    stop, test = aliased(Outcome), aliased(Outcome)
    stopped = and_(stop.run_id == EvaluationRow.run_id, stop.number == EvaluationRow.number, stop.accepted.is_(False))
    tested = and_(test.run_id == EvaluationRow.run_id, test.number == EvaluationRow.number, test.filter == QUALITY)
    found = connection.execute(
        select(EvaluationRow.number, CandidateRow.start, EvaluationRow.status, stop.filter, test.value)
        .join(CandidateRow, of_candidate)
        .outerjoin(stop, stopped)
        .outerjoin(test, tested)
        .where(condition(EvaluationRow))
        .order_by(EvaluationRow.number)
    )
    # The column reads NULL, which also stands for no measurement, as NaN.
    return [
        Ending(number, start, Status(status), stopped_by, None if value is None or isnan(value) else value)
        for number, start, status, stopped_by, value in found
    ]


def unevaluated(connection: Connection, run_id: int) -> Sequence[int]:
    """The numbers of the candidates without an evaluation, in order."""
    evaluated = and_(EvaluationRow.run_id == CandidateRow.run_id, EvaluationRow.number == CandidateRow.number)
    missing = (
        select(CandidateRow.number)
        .where(CandidateRow.run_id == run_id)
        .where(~select(EvaluationRow.number).where(evaluated).exists())
    )
    return connection.scalars(missing.order_by(CandidateRow.number)).all()


def newest_scored(connection: Connection, run_id: int, before: int, limit: int) -> Sequence[int]:
    """The numbers of the last `limit` scored candidates below the number `before`, in order."""
    scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
    found = select(EvaluationRow.number).where(scored, EvaluationRow.number < min(before, conditions.MAX_NUMBER))
    last = found.order_by(EvaluationRow.number.desc()).limit(min(max(limit, 0), conditions.MAX_NUMBER))
    return connection.scalars(last).all()[::-1]


def filter_values(connection: Connection, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
    """The last `limit` values of a filter for candidates below the number `before`, in order; NaN is left out."""
    measured = and_(Outcome.run_id == run_id, Outcome.filter == name, Outcome.value.is_not(None))
    found = select(Outcome.value).where(measured, Outcome.number < min(before, conditions.MAX_NUMBER))
    last = found.order_by(Outcome.number.desc()).limit(min(max(limit, 0), conditions.MAX_NUMBER))
    return connection.scalars(last).all()[::-1]
