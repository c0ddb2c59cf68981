"""The claims of coordinators on runs, in a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from evonas.db.models import CoordinatorRow
from evonas.db.row_conversion import storable
from evonas.records.coordinator import Coordinator, held_by_another, taken_over


def claim(connection: Connection, run_id: int, mine: Coordinator) -> None:
    """Claim a run for the coordinator `mine`; the caller must hold a lock on the run.

    Raises:
        UsageError: another coordinator has claimed the run and is not gone.
    """
    row = _row(connection, run_id)
    if row is not None and row.token != mine.token:
        other, silent = _built(row), max(0.0, (_now(connection) - row.heard).total_seconds())
        if not other.gone(silent):
            raise held_by_another(run_id, other, silent)
    connection.execute(delete(CoordinatorRow).where(CoordinatorRow.run_id == run_id))
    connection.execute(
        insert(CoordinatorRow).values(
            run_id=run_id,
            token=mine.token,
            host=storable(mine.host),
            pid=mine.pid,
            place=mine.place,
            started=mine.started,
            since=mine.since,
            heard=_now(connection),
        )
    )


def renew(connection: Connection, run_id: int, token: str) -> None:
    """Renew the claim with this token.

    Raises:
        StorageError: another coordinator has taken the run over.
    """
    same = CoordinatorRow.run_id == run_id, CoordinatorRow.token == token
    if connection.execute(update(CoordinatorRow).where(*same).values(heard=_now(connection))).rowcount != 1:
        raise taken_over(run_id, coordinator(connection, run_id))


def release(connection: Connection, run_id: int, mine: Coordinator) -> None:
    """Release the run if `mine` still holds it."""
    same = CoordinatorRow.run_id == run_id, CoordinatorRow.token == mine.token
    connection.execute(delete(CoordinatorRow).where(*same))


def coordinator(connection: Connection, run_id: int) -> Coordinator | None:
    """The coordinator that has claimed the run, or None; it may be gone."""
    row = _row(connection, run_id)
    return None if row is None else _built(row)


def _row(connection: Connection, run_id: int) -> Any:
    return connection.execute(select(CoordinatorRow.__table__).where(CoordinatorRow.run_id == run_id)).one_or_none()


def _built(row: Any) -> Coordinator:
    return Coordinator(row.token, row.host, row.pid, row.place, row.started, row.since)


def _now(connection: Connection) -> datetime:
    # The server's clock, because the clocks of its clients differ.
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)
