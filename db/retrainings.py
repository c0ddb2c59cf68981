"""The trainings beside the first evaluations of a search: writing them to a database and reading them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select

from evonas.db import conditions
from evonas.db.models import CandidateRow, RetrainingRow
from evonas.db.row_conversion import storable
from evonas.errors import StorageError
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.store import no_such_candidate, sorted_retrainings


def record(connection: Connection, run_id: int, retraining: Retraining) -> None:
    """Insert a training, unless there is one with the same key that did not fail.

    Raises:
        UsageError: the run does not have the candidate.
    """
    number = retraining.layer if isinstance(retraining.layer, int) else None
    if number is not None and not conditions.recorded_numbers(connection, CandidateRow, run_id, [number]):
        raise no_such_candidate(run_id, number, conditions.count_candidates(connection, run_id))
    key = {
        "run_id": run_id,
        "layer": storable(str(retraining.layer)),
        "stage": retraining.stage.value,
        "anchor": storable(retraining.anchor),
        "steps": int(retraining.steps),
        "held_out": float(retraining.held_out),
        "seed": int(retraining.seed),
    }
    same = and_(*(RetrainingRow.__table__.c[name] == value for name, value in key.items()))
    # A failed training has the score NaN, which is stored as NULL.
    connection.execute(delete(RetrainingRow).where(same, RetrainingRow.score.is_(None)))
    if connection.execute(select(RetrainingRow.run_id).where(same)).first() is None:
        connection.execute(
            insert(RetrainingRow).values(
                **key,
                number=number,
                score=retraining.score,
                seconds=float(retraining.seconds),
                reason=storable(retraining.reason),
            )
        )


def read(connection: Connection, run_id: int, stages: Collection[RetrainingStage]) -> list[Retraining]:
    """The trainings of some stages of a run, in the order of `Store.retrainings`.

    Raises:
        StorageError: a row has a stage that there is not.
    """
    others = [stage.value for stage in RetrainingStage if stage not in stages]
    wanted = and_(RetrainingRow.run_id == run_id, RetrainingRow.stage.not_in(others))
    found = connection.execute(select(RetrainingRow.__table__).where(wanted))
    return sorted_retrainings(_built(row) for row in found)


def _built(row: Any) -> Retraining:
    try:
        stage = RetrainingStage(row.stage)
    except ValueError as error:
        # We wrote it, so this happens only if the database was damaged or edited.
        raise StorageError(f"a training of layer {row.layer} in run {row.run_id} is damaged: {error}") from error
    layer = row.layer if row.number is None else row.number
    return Retraining(layer, stage, row.anchor, row.seed, row.steps, row.held_out, row.score, row.seconds, row.reason)
