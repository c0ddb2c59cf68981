"""The totals of a run, added up by the database."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, select

from evonas.db.models import CandidateRow, Drawing, EvaluationRow, Outcome, RetrainingRow, TrainingRow
from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import FilterSummary, RunSummary
from evonas.records.store import by_frequency
from evonas.settings.candidate import LONGER, Status


def summarise(connection: Connection, run_id: int, last_activity: datetime) -> RunSummary:
    """The totals of a run, which must exist.

    Args:
        connection: a connection within a transaction.
        run_id: the run.
        last_activity: when the run was last written to, in UTC.
    """
    of_run = EvaluationRow.run_id == run_id
    counted = select(EvaluationRow.status, func.count()).where(of_run).group_by(EvaluationRow.status)
    counts = dict(connection.execute(counted).all())
    retries = connection.execute(select(func.sum(EvaluationRow.attempts - 1)).where(of_run)).scalar_one()
    drawn = connection.execute(
        select(
            Drawing.filter,
            func.sum(Drawing.discarded).label("discarded"),
            func.sum(case((Drawing.timed, 1), else_=0)).label("timed"),
            func.sum(Drawing.seconds).label("seconds"),
        )
        .where(Drawing.run_id == run_id)
        .group_by(Drawing.filter)
        .order_by(Drawing.filter)
    ).all()
    trained = connection.execute(
        select(TrainingRow.anchor, func.sum(TrainingRow.seconds))
        .where(TrainingRow.run_id == run_id)
        .group_by(TrainingRow.anchor)
        .order_by(TrainingRow.anchor)
    ).all()
    on_rungs = and_(RetrainingRow.run_id == run_id, RetrainingRow.stage == RetrainingStage.RUNG.value)
    longer = connection.scalar(select(func.sum(RetrainingRow.seconds)).where(on_rungs))
    return RunSummary(
        candidates=connection.execute(
            select(func.count()).select_from(CandidateRow).where(CandidateRow.run_id == run_id)
        ).scalar_one(),
        statuses={status: counts.get(status.value, 0) for status in Status},
        filters=_filters(connection, run_id),
        discarded={row.filter: row.discarded for row in drawn if row.discarded is not None},
        drawing={row.filter: row.seconds for row in drawn if row.timed},
        training=dict(trained) if longer is None else dict(sorted([*trained, (LONGER, longer)])),
        retries=retries or 0,  # the sum of no rows is NULL
        last_activity=last_activity,
    )


def _filters(connection: Connection, run_id: int) -> dict[str, FilterSummary]:
    groups: dict[str, list[Any]] = defaultdict(list)
    found = connection.execute(
        select(
            Outcome.filter,
            Outcome.accepted,
            Outcome.reason,
            func.count().label("judged"),
            func.sum(Outcome.seconds).label("seconds"),
            func.min(Outcome.position).label("position"),
        )
        .where(Outcome.run_id == run_id)
        .group_by(Outcome.filter, Outcome.accepted, Outcome.reason)
    )
    for row in found:
        groups[row.filter].append(row)
    summaries: dict[str, FilterSummary] = {}
    for name in sorted(groups, key=lambda name: (min(row.position for row in groups[name]), name)):
        rejected = {row.reason: row.judged for row in groups[name] if not row.accepted}
        summaries[name] = FilterSummary(
            judged=sum(row.judged for row in groups[name]),
            rejected=sum(rejected.values()),
            seconds=sum(row.seconds for row in groups[name]),
            reasons=by_frequency(rejected),
        )
    return summaries
