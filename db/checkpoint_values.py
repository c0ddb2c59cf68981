"""What published layers have at the filters of a run, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, and_, delete, select

from evonas.db import row_conversion
from evonas.db.models import CheckpointRow
from evonas.settings.checkpoint_value import CheckpointValue


def record(connection: Connection, run_id: int, layer: str, values: Sequence[CheckpointValue]) -> None:
    """Write what a published layer has at the filters, over earlier values of it."""
    name = row_conversion.storable(layer)
    connection.execute(delete(CheckpointRow).where(and_(CheckpointRow.run_id == run_id, CheckpointRow.layer == name)))
    rows: list[row_conversion.TableRow] = [
        {
            "run_id": run_id,
            "layer": name,
            "position": position,
            "checkpoint": row_conversion.storable(value.checkpoint),
            "value": value.value,
            "reason": row_conversion.storable(value.reason),
            "chance": value.chance,
            "images": value.images,
        }
        for position, value in enumerate(values)
    ]
    row_conversion.insert_rows(connection, {CheckpointRow: rows})


def read(connection: Connection, run_id: int) -> Mapping[str, tuple[CheckpointValue, ...]]:
    """What the published layers of a run have at its filters, by layer; layers by name, filters in their order."""
    rows = select(CheckpointRow.__table__).where(CheckpointRow.run_id == run_id)
    found: dict[str, tuple[CheckpointValue, ...]] = {}
    for row in connection.execute(rows.order_by(CheckpointRow.layer, CheckpointRow.position)):
        value = CheckpointValue(row.checkpoint, row.value, row.reason, row.chance, row.images)
        found[row.layer] = (*found.get(row.layer, ()), value)
    return dict(sorted(found.items()))  # databases sort names in their own ways
