"""The objectives of the scored candidates of a run, read as one array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Connection, Double, and_, case, func, select, type_coerce

from evonas.db.models import EvaluationRow, Measure, Score
from evonas.settings.candidate import Status
from evonas.settings.objectives import ANCHOR_ACCURACIES, objective_named

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness


def read_objectives(
    connection: Connection, run_id: int, names: Sequence[str], plugins: Sequence[str]
) -> tuple[Sequence[int], Fitness]:
    """The numbers of the scored candidates, in order, and their objectives.

    Args:
        connection: a connection within a transaction.
        run_id: the run.
        names: the objectives of the columns.
        plugins: the run's `EvaluationProtocol.plugins`.

    Returns:
        The numbers, and an array of float64, candidates × objectives, as `evonas.settings.objectives.fitness` makes it.
    """
    scored = and_(EvaluationRow.run_id == run_id, EvaluationRow.status == Status.SCORED.value)
    numbers = connection.scalars(select(EvaluationRow.number).where(scored).order_by(EvaluationRow.number)).all()
    if not numbers:
        return [], np.empty((0, len(names)))
    order = select(Score.objective).where(Score.run_id == run_id, Score.number == numbers[0]).order_by(Score.position)
    anchors = connection.scalars(order).all()
    columns = [anchor for name in names for anchor in (anchors if name == ANCHOR_ACCURACIES else [name])]
    values = np.full((len(numbers), len(columns)), np.nan)
    for table, value, wanted in (
        (Score, Score.score, [name for name in columns if name in anchors]),
        (Measure, Measure.value, [name for name in columns if name not in anchors]),
    ):
        if wanted:
            found = _by_objective(connection, run_id, table, value, wanted)
            rows = np.searchsorted(numbers, found[:, 0])
            higher = [name in anchors or objective_named(name, plugins).higher_is_better for name in wanted]
            signs = np.where(higher, 1.0, -1.0)
            places = np.array([columns.index(name) for name in wanted])
            values[rows[:, None], places] = found[:, 1:] * signs
    return numbers, values


def _by_objective(
    connection: Connection, run_id: int, table: Any, value: Any, names: Sequence[str]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers and values, candidates × (1 + names), in order of the numbers; NaN where a value is missing."""
    plain = type_coerce(value, Double)
    columns = [func.max(case((table.objective == name, plain))) for name in names]
    statement = select(table.number, *columns).where(table.run_id == run_id).group_by(table.number)
    rows = connection.execute(statement.order_by(table.number)).all()
    return np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 1 + len(names))
