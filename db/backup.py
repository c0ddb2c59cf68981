"""A copy of a database that is whole, also while a search writes to it.

A copy of the file alone lacks what is still in the log beside it, FILE-wal.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from evonas.db.connect import open_store, sqlite_path
from evonas.errors import StorageError, UsageError


def backup(url_or_path: str, target: Path) -> None:
    """Copy an SQLite database to a new file, which is there completely or not at all.

    Args:
        url_or_path: the database, as `open_store` takes it.
        target: the file to write; one that is there is replaced.

    Raises:
        UsageError: there is no such database, it is on a server, or the target is the database itself.
        StorageError: it cannot be read, or the copy cannot be written.
    """
    path = sqlite_path(url_or_path)
    if path is None:
        raise UsageError("a database on a server is copied by its own tools, such as pg_dump")
    if target.absolute() == path.absolute():
        raise UsageError(f"{target} is the database itself: name another file")
    open_store(url_or_path, read_only=True).close()  # raises where there is nothing to copy
    partial = target.with_name(f"{target.name}.part")
    try:
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # so that the copy is a single file
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        raise StorageError(f"{path} cannot be copied to {target}: {error}") from None
    finally:
        partial.unlink(missing_ok=True)
