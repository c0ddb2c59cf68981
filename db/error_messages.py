"""Turns errors of the database layer into one-line messages for people: what was wrong, and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from evonas.errors import StorageError, StorageUnavailableError, shorten

_LOCKED = "{place} is locked by another process; is a search still writing to it?"
_FORBIDDEN = "this user has no permission to open {place}; check its permissions"
_READ_ONLY = "{place} is read-only; make it and its folder writable, or choose another place"
_FULL = "the disk that holds {place} is full; make room; what was recorded is kept"
_REFUSED = "{place} refused the login ({said}); check the user name and password"
_UNREACHABLE = "{place} does not answer ({said}); is the server running?"

_SQLITE = {
    sqlite3.SQLITE_NOTADB: "{place} is not a database; choose another place, or move the file away",
    sqlite3.SQLITE_CORRUPT: "{place} is damaged ({said}); restore a copy, or try sqlite3's .recover",
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _READ_ONLY,
    sqlite3.SQLITE_PERM: _FORBIDDEN,
    sqlite3.SQLITE_AUTH: _FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: "{place} cannot be opened; check the permissions of the file and its folder, and the disk",
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: "{place} cannot be read or written ({said}); check the disk and its free space",
}
"""By SQLite's primary result code."""
_PERMANENT = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
"""Codes of errors for which waiting does not help."""

_POSTGRES = {
    "3D000": "{place} does not exist; create it with createdb, or give the name of an existing one",
    "28": _REFUSED,
    "42501": _FORBIDDEN,
    "25006": "{place} is read-only, perhaps a standby server; give the address of one that can be written to",
    "53100": _FULL,
    "53300": "{place} has no free connection; raise its max_connections, or stop other clients",
    "55P03": _LOCKED,
    "57": _UNREACHABLE,
    "08": _UNREACHABLE,
}
"""By PostgreSQL's SQLSTATE, or its class, which is the first two characters."""
_TEMPORARY = {"08", "25006", "40", "53", "55P03", "57"}
"""The states and classes of errors that may end while a search waits. Class 40 is a conflict of transactions."""


@contextmanager
def as_storage_errors(place: str) -> Iterator[None]:
    """Convert errors of the database layer in the block to `StorageError`.

    Args:
        place: the name of the database for messages, without a password.

    Raises:
        StorageUnavailableError: the database may answer later.
        StorageError: any other error.
    """
    try:
        yield
    except DBAPIError as error:
        raise _storage_error(error.orig, place, isinstance(error, OperationalError)) from error
    except sqlite3.Error as error:
        raise _storage_error(error, place) from error
    except PoolTimeoutError as error:
        raise StorageUnavailableError(f"{place}: all connections stayed busy") from error
    except SQLAlchemyError as error:
        # Its text may contain the statement and its values, so the message has only its type.
        raise StorageError(f"{place}: the database failed ({type(error).__name__})") from error
    except (ValueError, TypeError, RecursionError) as error:
        # SQLite stores any value in any column; one of another type than the column's was not written by us.
        raise StorageError(f"{place} is damaged: a value has the wrong type ({shorten(str(error), 100)})") from error


def _storage_error(error: BaseException | None, place: str, operational: bool = False) -> StorageError:
    said = shorten(" ".join(str(error).split()), 150).strip("'\"")
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None and code & 0xFF in _SQLITE:  # the low byte is the primary code
        kind = StorageError if code & 0xFF in _PERMANENT else StorageUnavailableError
        return kind(_SQLITE[code & 0xFF].format(place=place, said=said))
    state = getattr(error, "sqlstate", None)
    if state is not None:
        temporary = state in _TEMPORARY or state[:2] in _TEMPORARY
        message = _POSTGRES.get(state) or _POSTGRES.get(state[:2])
    else:
        # A server that cannot be reached gives an operational error without a state.
        refused = "authentication failed" in said
        temporary = operational and code is None and not refused
        missing = "database" in said and "does not exist" in said
        message = _REFUSED if refused else _POSTGRES["3D000"] if missing else _UNREACHABLE if temporary else None
    kind = StorageUnavailableError if temporary else StorageError
    return kind((message or "{place}: the database failed: {said}").format(place=place, said=said))
