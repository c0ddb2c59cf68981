"""Opening a database by path or URL."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from evonas.db import migrations
from evonas.db.error_messages import as_storage_errors
from evonas.db.postgres import DRIVERS, postgres_engine, without_password
from evonas.db.sqlite import sqlite_engine, use_wal
from evonas.db.store import DatabaseStore
from evonas.errors import StorageError, UsageError, shorten
from evonas.records.store import Store

_EXAMPLES = "a path such as runs.db, sqlite:///path or postgresql://user@host/name"


def open_store(url_or_path: str, *, read_only: bool = False, create: bool = True) -> Store:
    """Open the store in a database, and create its tables or bring them up to date.

    Args:
        url_or_path: the path of an SQLite file, or the URL of an SQLite or PostgreSQL database.
        read_only: whether to open it without creating or changing anything, for viewers.
        create: whether to create the database if there is none.

    Raises:
        UsageError: the URL is unusable, a driver or folder is missing, or, with `read_only` or without `create`, the
            file is missing.
        StorageError: the database cannot be opened, belongs to another program, or does not fit this version.
    """
    path = sqlite_path(url_or_path)
    if path is None:
        url = _server(url_or_path)
        return _prepared(postgres_engine(url), without_password(url), read_only, create)
    place = str(path)
    _check_file(path, read_only or not create)
    path = path.absolute()
    if not read_only:
        return _prepared(sqlite_engine(path, "rwc"), place, read_only, create)
    try:
        return _prepared(sqlite_engine(path, "ro"), place, read_only)
    except StorageError:
        # Even a reader of a file in WAL mode writes the shared-memory file that holds the locks. In a folder where it
        # cannot, reading without locks shows everything that was recorded, provided that the log is empty.
        log = path.with_name(path.name + "-wal")
        if _may_write(path.parent) or (log.exists() and log.stat().st_size):
            raise
        return _prepared(sqlite_engine(path, "immutable"), place, read_only)


def _prepared(engine: Engine, place: str, read_only: bool, create: bool = False) -> Store:
    try:
        with as_storage_errors(place):
            if read_only:
                _check_tables(engine, place)
            else:
                # With the write lock, so that two processes that open a new database do not both create the tables,
                # and so that a read-only file is noticed now rather than at the first result.
                with engine.execution_options(evonas_writes=True).begin() as connection:
                    if not create and migrations.revision(connection, place) is None:
                        raise _nothing_in(place)
                    migrations.upgrade(connection, place)
                if engine.dialect.name == "sqlite":
                    use_wal(engine)
    except BaseException:
        engine.dispose()
        raise
    return DatabaseStore(engine, place)


def _check_tables(engine: Engine, place: str) -> None:
    with engine.begin() as connection:
        found = migrations.revision(connection, place)
    if found is None:
        raise _nothing_in(place)
    if found != migrations.HEAD:
        migrations.check_known(found, place)
        raise StorageError(f"{place} was made by an older evonas; `evonas search` or `evonas resume` upgrades it")


def _nothing_in(place: str) -> StorageError:
    return StorageError(f"{place} has no runs in it yet; `evonas search` creates one")


def sqlite_path(url_or_path: str) -> Path | None:
    """The path of the SQLite file, or None for the URL of a server."""
    scheme, separator, rest = url_or_path.partition("://")
    if "\0" in url_or_path or not url_or_path.strip():
        # The message repeats nothing of a URL, because a password may be anywhere in it.
        raise UsageError(
            f"{shorten(scheme + '://…' if separator else url_or_path)} is not a database; give {_EXAMPLES}"
        )
    if not separator:
        try:
            return Path(url_or_path).expanduser()
        except RuntimeError as error:  # ~nobody
            raise UsageError(f"{shorten(url_or_path)} is not a path: {error}") from None
    if scheme not in ("sqlite", "sqlite+pysqlite"):
        return None
    if "?" in rest:
        raise UsageError("a sqlite:/// URL must not have options after '?'; give only the path")
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UsageError("a sqlite URL must name a file after three slashes: sqlite:///runs.db")
    return Path(rest[1:])


def _check_file(path: Path, must_exist: bool) -> None:
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give the path of a file, such as {path / 'runs.db'}")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file; give the path of one, such as runs.db")
        if must_exist and not path.exists():
            raise UsageError(f"there is no database at {path}; `evonas search` creates one")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} for the database {path.name}; create it first")
    except OSError as error:  # no permission to look, a name that is too long
        raise StorageError(f"{shorten(str(path), 200)} cannot be opened: {error.strerror}") from error


def _server(text: str) -> URL:
    # Messages repeat nothing of a URL that cannot be parsed, because a password may be anywhere in it.
    scheme = text.partition("://")[0]
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(f"the database URL {shorten(scheme + '://…')} cannot be read; give {_EXAMPLES}") from None
    if url.get_backend_name() not in DRIVERS:
        raise UsageError(f"unknown kind of database {shorten(scheme)}; give {_EXAMPLES}")
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
