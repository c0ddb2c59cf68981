"""Who is at work on a run, as a row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from evonas.db.models import CoordinatorRow
from evonas.db.rows import storable
from evonas.records.coordinator_claim import Coordinator, held_by_another, taken_over


def claim(connection: Connection, run_id: int, mine: Coordinator) -> None:
    """Make `mine` the run's; the caller holds a lock on the run.

    Raises:
        UsageError: when another that is still there has it.
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
    """Note that the run's coordinator was heard of.

    Raises:
        StorageError: when the run is another's by now.
    """
    same = CoordinatorRow.run_id == run_id, CoordinatorRow.token == token
    if connection.execute(update(CoordinatorRow).where(*same).values(heard=_now(connection))).rowcount != 1:
        raise taken_over(run_id, coordinator(connection, run_id))


def release(connection: Connection, run_id: int, mine: Coordinator) -> None:
    """Give the run up, where it still is `mine`."""
    same = CoordinatorRow.run_id == run_id, CoordinatorRow.token == mine.token
    connection.execute(delete(CoordinatorRow).where(*same))


def coordinator(connection: Connection, run_id: int) -> Coordinator | None:
    """Who has claimed the run; whether it is still there is another question."""
    row = _row(connection, run_id)
    return None if row is None else _built(row)


def _row(connection: Connection, run_id: int) -> Any:
    return connection.execute(select(CoordinatorRow.__table__).where(CoordinatorRow.run_id == run_id)).one_or_none()


def _built(row: Any) -> Coordinator:
    return Coordinator(row.token, row.host, row.pid, row.place, row.started, row.since)


def _now(connection: Connection) -> datetime:
    # A server's clock, because those of its clients differ.
    if connection.dialect.name == "sqlite":
        return datetime.now(UTC)
    found: datetime = connection.execute(select(func.clock_timestamp())).scalar_one()
    return found.astimezone(UTC)
