"""Runs in a database: their rows, what is kept of published layers, and candidates beside their evaluations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from evonas.db import picking, rows
from evonas.db.models import ReferenceLayer, ReferenceScore, Run, RunTime
from evonas.errors import StorageError
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import no_such_run
from evonas.settings.candidate import Candidate, Evaluation
from evonas.settings.run_config import RunConfig


def create(connection: Connection, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
    """A new row; see `Store.create_run`."""
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
    """Notes that a run was written to now, and its status and elapsed seconds where given."""
    changed: dict[str, Any] = {"updated": datetime.now(UTC)}
    if status is not None:
        changed["status"] = status.value
    if elapsed is not None:
        changed["elapsed"] = float(elapsed)
    connection.execute(update(Run).where(Run.id == run_id).values(changed))


def keep_reference(connection: Connection, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
    """See `Store.record_reference`."""
    at = {"run_id": run_id, "layer": rows.storable(layer)}
    known = connection.scalars(select(ReferenceLayer.layer).where(ReferenceLayer.run_id == run_id)).all()
    if at["layer"] not in known:
        connection.execute(insert(ReferenceLayer).values(**at, position=len(known)))
    earlier = and_(ReferenceScore.run_id == run_id, ReferenceScore.layer == at["layer"])
    connection.execute(delete(ReferenceScore).where(earlier))
    rows.insert_rows(connection, {ReferenceScore: rows.numbered(at, "anchor", "score", scores)})


def pairs(connection: Connection, run_id: int, numbers: Sequence[int]) -> list[tuple[Candidate, Evaluation]]:
    """Candidates with their evaluations, in the order of their numbers in the list."""
    pairs: list[tuple[Candidate, Evaluation]] = []
    for chunk in picking.chunks(numbers):
        within = picking.picked(run_id, chunk)
        candidates = {c.index: c for c in rows.read_candidates(connection, within)}
        evaluations = {e.index: e for e in rows.read_evaluations(connection, within)}
        for number in chunk:
            if number not in candidates or number not in evaluations:
                raise StorageError(f"candidate {number} of run {run_id} is damaged: a part of it is missing")
            pairs.append((candidates[number], evaluations[number]))
    return pairs


def run_row(connection: Connection, run_id: int, *, lock: bool = False) -> Any:
    """The run's row; with `lock`, no other may write to the run until the transaction ends."""
    if 0 < run_id <= picking.GREATEST:
        found = select(Run.__table__).where(Run.id == run_id)
        # SQLite has no such clause, and lets one transaction write at a time anyway.
        row = connection.execute(found.with_for_update() if lock else found).one_or_none()
        if row is not None:
            return row
    raise no_such_run(run_id, connection.scalars(select(Run.id).order_by(Run.id)).all())


def info(connection: Connection, row: Any) -> RunInfo:
    """What a row says, with what belongs to it."""
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
    return RunInfo(row.id, config, status, row.created, environment, references, row.elapsed, times)
