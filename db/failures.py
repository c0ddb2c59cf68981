"""What databases say when they fail, said for people: one line, what was wrong and what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from evonas.errors import StorageError, shorten

_SAYINGS = {
    sqlite3.SQLITE_NOTADB: "{place} is not a database; choose another place, or move the file away",
    sqlite3.SQLITE_CORRUPT: "{place} is damaged ({said}); restore a copy, or try sqlite3's .recover",
    sqlite3.SQLITE_BUSY: "{place} is locked by another process; is a search still writing to it?",
    sqlite3.SQLITE_LOCKED: "{place} is locked by another process; is a search still writing to it?",
    sqlite3.SQLITE_READONLY: "{place} is read-only; make it and its folder writable, or choose another place",
    sqlite3.SQLITE_PERM: "{place} may not be opened by this user; check its permissions",
    sqlite3.SQLITE_AUTH: "{place} may not be opened by this user; check its permissions",
    sqlite3.SQLITE_CANTOPEN: "{place} cannot be opened; check the permissions of it and its folder",
    sqlite3.SQLITE_FULL: "the disk that holds {place} is full; make room; what was recorded is kept",
    sqlite3.SQLITE_IOERR: "{place} cannot be read or written ({said}); check the disk and its free space",
}
"""By SQLite's primary result code."""


@contextmanager
def told_for_people(place: str) -> Iterator[None]:
    """Raise what the database layer raises within as `StorageError`.

    Args:
        place: the database as a person would name it, without a password.
    """
    try:
        yield
    except DBAPIError as error:
        raise StorageError(_said(error.orig, place)) from error
    except sqlite3.Error as error:
        raise StorageError(_said(error, place)) from error
    except SQLAlchemyError as error:
        # Its text may hold the statement and its values, so that only the kind is told.
        raise StorageError(f"{place}: the database failed ({type(error).__name__})") from error


def _said(error: BaseException | None, place: str) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    said = " ".join(str(error).split())
    if code is not None and code & 0xFF in _SAYINGS:  # the low byte is the primary code
        return _SAYINGS[code & 0xFF].format(place=place, said=said)
    return f"{place}: the database failed: {shorten(said, 300)}"
