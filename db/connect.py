"""Opening a database by path or URL."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError

from evonas.db import migrations
from evonas.db.failures import told_for_people
from evonas.db.postgres import DRIVERS, postgres_engine, shown
from evonas.db.sqlite import sqlite_engine, use_wal
from evonas.db.store import DatabaseStore
from evonas.errors import StorageError, UsageError, shorten
from evonas.records.store import Store

_KNOWN = "a path such as runs.db, sqlite:///path or postgresql://user@host/name"


def open_store(url_or_path: str, *, read_only: bool = False, create: bool = True) -> Store:
    """The store in a database, whose tables are created or brought up to date.

    Args:
        url_or_path: the path of an SQLite file, or a URL.
        read_only: never create or change anything; for viewers.
        create: make the database where there is none.

    Raises:
        UsageError: for a URL that is none of ours, a driver or folder that is missing, and with
            `read_only` or without `create` for a file that is missing.
        StorageError: when the database cannot be opened, is not ours, or does not fit this version.
    """
    path = _path(url_or_path)
    if path is None:
        url = _server(url_or_path)
        return _prepared(postgres_engine(url), shown(url), read_only, create)
    place = str(path)
    _check_file(path, read_only or not create)
    path = path.absolute()
    if not read_only:
        return _prepared(sqlite_engine(path, "rwc"), place, read_only, create)
    try:
        return _prepared(sqlite_engine(path, "ro"), place, read_only)
    except StorageError:
        # Even a reader of a WAL file writes the file beside it that locks are kept in. In a folder where
        # it cannot, and with nothing left in the log, reading without locks shows what was recorded.
        log = path.with_name(path.name + "-wal")
        if _may_write(path.parent) or (log.exists() and log.stat().st_size):
            raise
        return _prepared(sqlite_engine(path, "immutable"), place, read_only)


def _prepared(engine: Engine, place: str, read_only: bool, create: bool = False) -> Store:
    try:
        with told_for_people(place):
            if read_only:
                _check_tables(engine, place)
            else:
                # Holding the lock for writing: two that open a new database do not both create the
                # tables, and a read-only file is found out now rather than at the first result.
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
        raise StorageError(f"{place} was made by an older evonas; `evonas search` or `resume` upgrades it")


def _nothing_in(place: str) -> StorageError:
    return StorageError(f"{place} has no runs in it yet; `evonas search` makes one")


def _path(url_or_path: str) -> Path | None:
    """The SQLite file that is meant, None for a server's URL."""
    scheme, separator, rest = url_or_path.partition("://")
    if "\0" in url_or_path or not url_or_path.strip():
        # Of a URL nothing is repeated: a password may be anywhere in it.
        raise UsageError(f"{shorten(scheme + '://…' if separator else url_or_path)} is no database; give {_KNOWN}")
    if not separator:
        try:
            return Path(url_or_path).expanduser()
        except RuntimeError as error:  # ~nobody
            raise UsageError(f"{shorten(url_or_path)} is no database: {error}") from None
    if scheme not in ("sqlite", "sqlite+pysqlite"):
        return None
    if "?" in rest:
        raise UsageError("a sqlite:/// URL takes no options after '?' here; give the path alone")
    if not rest.startswith("/") or rest in ("/", "/:memory:"):
        raise UsageError("a sqlite URL should name a file, after three slashes: sqlite:///runs.db")
    return Path(rest[1:])


def _check_file(path: Path, must_exist: bool) -> None:
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give the path of a file, such as {path / 'runs.db'}")
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is no file; give the path of one, such as runs.db")
        if must_exist and not path.exists():
            raise UsageError(f"there is no database at {path}; `evonas search` makes one")
        if not path.parent.is_dir():
            raise UsageError(f"there is no folder {path.parent} for the database {path.name}; make it first")
    except OSError as error:  # no permission to look, a name that is too long
        raise StorageError(f"{shorten(str(path), 200)} cannot be opened: {error.strerror}") from error


def _server(text: str) -> URL:
    # Messages repeat nothing of a URL that cannot be taken apart, as a password may be anywhere in it.
    scheme = text.partition("://")[0]
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(f"the database URL {shorten(scheme + '://…')} cannot be read; give {_KNOWN}") from None
    if url.get_backend_name() not in DRIVERS:
        raise UsageError(f"unknown kind of database {shorten(scheme)}; give {_KNOWN}")
    return url.set(drivername=DRIVERS.get(url.drivername, url.drivername))


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
