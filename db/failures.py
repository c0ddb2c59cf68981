"""What databases say when they fail, said for people: one line, what was wrong and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from evonas.errors import StorageError, StorageUnavailableError, shorten

_LOCKED = "{place} is locked by another process; is a search still writing to it?"
_CLOSED = "{place} may not be opened by this user; check its permissions"
_READ_ONLY = "{place} is read-only; make it and its folder writable, or choose another place"
_FULL = "the disk that holds {place} is full; make room; what was recorded is kept"
_REFUSED = "{place} lets this user in only with the right name and password ({said})"
_AWAY = "{place} does not answer ({said}); is the server running?"

_SQLITE = {
    sqlite3.SQLITE_NOTADB: "{place} is not a database; choose another place, or move the file away",
    sqlite3.SQLITE_CORRUPT: "{place} is damaged ({said}); restore a copy, or try sqlite3's .recover",
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_AUTH: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: "{place} cannot be opened; check the permissions of it and its folder, and their disk",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: "{place} cannot be read or written ({said}); check the disk and its free space",
}
"""By SQLite's primary result code."""
_LASTING = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
"""Codes of what does not pass while a search waits."""

_POSTGRES = {
    "3D000": "{place} is not there; make it with createdb, or give the name of one that is",
    "28": _REFUSED,
    "42501": _CLOSED,
    "25006": "{place} is read-only, a standby server perhaps; give the address of one that can be written",
    "53100": _FULL,
    "53300": "{place} has no connection free; raise its max_connections, or stop what holds them",
    "55P03": _LOCKED,
    "57": _AWAY,
    "08": _AWAY,
}
"""By PostgreSQL's SQLSTATE, or its class, which is the first two characters."""
_PASSING = {"08", "25006", "40", "53", "55P03", "57"}
"""Of those: what may pass while a search waits. Class 40 is a transaction that another stood in the way of."""


@contextmanager
def told_for_people(place: str) -> Iterator[None]:
    """Raise what the database layer raises within as `StorageError`.

    Args:
        place: the database as a person would name it, without a password.
    """
    try:
        yield
    except DBAPIError as error:
        raise _told(error.orig, place, isinstance(error, OperationalError)) from error
    except sqlite3.Error as error:
        raise _told(error, place) from error
    except PoolTimeoutError as error:
        raise StorageUnavailableError(f"{place}: no connection became free") from error
    except SQLAlchemyError as error:
        # Its text may hold the statement and its values, so that only the kind is told.
        raise StorageError(f"{place}: the database failed ({type(error).__name__})") from error
    except (ValueError, TypeError, RecursionError) as error:
        # SQLite keeps any value in any column, and only what others wrote into it is not of the column's type.
        raise StorageError(
            f"{place} is damaged: a value is not what it should be ({shorten(str(error), 100)})"
        ) from error


def _told(error: BaseException | None, place: str, operational: bool = False) -> StorageError:
    said = shorten(" ".join(str(error).split()), 150).strip("'\"")
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE:  # the low byte is the primary code
        kind = StorageError if code & 0xFF in _LASTING else StorageUnavailableError
        return kind(_SQLITE[code & 0xFF].format(place=place, said=said))
    state = getattr(error, "sqlstate", None)
    if state is not None:
        passing = state in _PASSING or state[:2] in _PASSING
        saying = _POSTGRES.get(state) or _POSTGRES.get(state[:2])
    else:
        # A server that is not there says nothing: no state, and an error of operation.
        refused = "authentication failed" in said
        passing = operational and code is None and not refused
        missing = "database" in said and "does not exist" in said
        saying = _REFUSED if refused else _POSTGRES["3D000"] if missing else _AWAY if passing else None
    kind = StorageUnavailableError if passing else StorageError
    return kind((saying or "{place}: the database failed: {said}").format(place=place, said=said))
