"""Creates and upgrades the tables, with Alembic.

Opening a store does this by itself. A developer who changes `models.py` writes the file for it with

    python -c "from evonas.db.migrations import new; new('what changes')"

then reads it, renames what Alembic guessed badly, and sets `HEAD` to its revision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from evonas.errors import StorageError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0005"
"""The newest revision. A constant, so that opening a database which has it need not load Alembic."""
VERSION_TABLE = "evonas_version"
"""Holds the revision of a database; not Alembic's usual name, so that other programs may share it."""
_LOCK = 0x65766F6E6173
"""The key of the lock under which a server's tables are upgraded: "evonas" in ASCII."""


def revision(connection: sa.Connection, place: str) -> str | None:
    """The revision of a database, None for one that has no tables yet.

    Raises:
        StorageError: when the database belongs to another program.
    """
    from evonas.db.models import Run  # with all tables

    tables = set(sa.inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    # A database file is one program's own; a server's database may hold others' tables beside ours.
    foreign = tables if connection.dialect.name == "sqlite" else tables & set(Run.metadata.tables)
    if foreign:
        raise StorageError(f"{place} is a database of another program, not of evonas; choose another place")
    return None


def upgrade(connection: sa.Connection, place: str) -> None:
    """Bring the tables to `HEAD`, within the transaction that `connection` is in.

    Raises:
        StorageError: when the database is not ours, or newer than this version of evonas.
    """
    if revision(connection, place) == HEAD:
        return
    if connection.dialect.name == "postgresql":
        # Two that open a new database do not both create its tables; SQLite's callers hold the file's lock.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = revision(connection, place)
    if found == HEAD:
        return
    check_known(found, place)
    from alembic import command

    command.upgrade(_config(connection), "head")


def check_known(found: str | None, place: str) -> None:
    """Raise `StorageError` for a revision that this version of evonas has not heard of."""
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StorageError(f"{place} was made by a newer evonas (tables {found!r}); update evonas to use it")


def new(message: str) -> Path:
    """Write a migration from the tables as they are to `models.py`, and give its path."""
    from alembic import command
    from alembic.script import Script

    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        config = _config(connection)
        command.upgrade(config, "head")
        number = f"{int(HEAD) + 1:04d}"
        script = command.revision(config, message, autogenerate=True, rev_id=number)
    engine.dispose()
    assert isinstance(script, Script)
    return Path(script.path)


def _config(connection: sa.Connection | None = None) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # The settings' parser takes a % in the folder's name for a reference to another setting.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
