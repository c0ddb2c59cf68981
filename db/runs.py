"""Runs in a database: their rows, the scores of published layers, and candidates with their evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from evonas.db import checkpoint_values, conditions, row_conversion
from evonas.db.models import ReferenceLayer, ReferenceScore, Run, RunTime
from evonas.errors import StorageError
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import no_such_run
from evonas.settings.candidate import Candidate, Evaluation
from evonas.settings.run_config import RunConfig


def create(connection: Connection, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
    """Insert the row of a new run."""
    now = datetime.now(UTC)
    values = {
        "status": RunStatus.RUNNING.value,
        "created": now,
        "updated": now,
        "elapsed": 0.0,
        "space": config.space.name,
        "strategy": config.strategy,
        "seed": str(config.seed),
        "config": config.to_json(),
        "environment": json.dumps(dict(environment)),
    }
    run_id = connection.execute(insert(Run).values(values).returning(Run.id)).scalar_one()
    return RunInfo(run_id, config, RunStatus.RUNNING, now, dict(environment))


def touch(connection: Connection, run_id: int, status: RunStatus | None = None, elapsed: float | None = None) -> None:
    """Set the time of a run's last change to now, and its status and elapsed seconds if given."""
    changed: dict[str, Any] = {"updated": datetime.now(UTC)}
    if status is not None:
        changed["status"] = status.value
    if elapsed is not None:
        changed["elapsed"] = float(elapsed)
    connection.execute(update(Run).where(Run.id == run_id).values(changed))


def record_reference(connection: Connection, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
    """Write the scores of a published layer, by anchor, over earlier ones."""
    at = {"run_id": run_id, "layer": row_conversion.storable(layer)}
    recorded = connection.scalars(select(ReferenceLayer.layer).where(ReferenceLayer.run_id == run_id)).all()
    if at["layer"] not in recorded:
        connection.execute(insert(ReferenceLayer).values(**at, position=len(recorded)))
    earlier = and_(ReferenceScore.run_id == run_id, ReferenceScore.layer == at["layer"])
    connection.execute(delete(ReferenceScore).where(earlier))
    row_conversion.insert_rows(connection, {ReferenceScore: row_conversion.numbered(at, "anchor", "score", scores)})


def pairs(connection: Connection, run_id: int, numbers: Sequence[int]) -> list[tuple[Candidate, Evaluation]]:
    """Candidates with their evaluations, in the order of `numbers`.

    Raises:
        StorageError: a candidate or its evaluation is missing.
    """
    pairs: list[tuple[Candidate, Evaluation]] = []
    for chunk in conditions.chunks(numbers):
        condition = conditions.with_numbers(run_id, chunk)
        candidates = {c.index: c for c in row_conversion.read_candidates(connection, condition)}
        evaluations = {e.index: e for e in row_conversion.read_evaluations(connection, condition)}
        for number in chunk:
            if number not in candidates or number not in evaluations:
                raise StorageError(f"candidate {number} of run {run_id} is damaged: a part of it is missing")
            pairs.append((candidates[number], evaluations[number]))
    return pairs


def run_row(connection: Connection, run_id: int, *, lock: bool = False) -> Any:
    """The row of a run.

    Args:
        connection: a connection within a transaction.
        run_id: the run.
        lock: whether to keep other transactions from writing to the run until this one ends.

    Raises:
        UsageError: there is no such run.
    """
    if 0 < run_id <= conditions.MAX_NUMBER:
        found = select(Run.__table__).where(Run.id == run_id)
        # SQLite has no such clause, and lets only one transaction write at a time anyway.
        row = connection.execute(found.with_for_update() if lock else found).one_or_none()
        if row is not None:
            return row
    raise no_such_run(run_id, connection.scalars(select(Run.id).order_by(Run.id)).all())


def run_info(connection: Connection, row: Any) -> RunInfo:
    """The run that a row describes, with its references, checkpoint values and times.

    Raises:
        StorageError: the row is damaged.
        UsageError: the configuration is not one of this version.
    """
    layers = select(ReferenceLayer.layer).where(ReferenceLayer.run_id == row.id)
    references: dict[str, dict[str, float]] = {
        layer: {} for layer in connection.scalars(layers.order_by(ReferenceLayer.position))
    }
    scores = select(ReferenceScore.__table__).where(ReferenceScore.run_id == row.id)
    for score in connection.execute(scores.order_by(ReferenceScore.position)):
        references[score.layer][score.anchor] = score.score
    try:
        status, environment = RunStatus(row.status), json.loads(row.environment)
    except ValueError as error:
        raise StorageError(f"run {row.id} is damaged: {error}") from error
    config = RunConfig.from_json(row.config)
    spent = connection.execute(select(RunTime.activity, RunTime.seconds).where(RunTime.run_id == row.id))
    times = {row.activity: row.seconds for row in spent}
    measured = checkpoint_values.read(connection, row.id)
    return RunInfo(row.id, config, status, row.created, environment, references, row.elapsed, times, measured)
