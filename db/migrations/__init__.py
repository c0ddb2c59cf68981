"""Creates and upgrades the tables with Alembic.

Opening a store does this automatically. A developer who changes `models.py` generates a migration with

    python -c "from evonas.db.migrations import new; new('what changes')"

then reviews it, corrects the names that Alembic chose badly, and sets `HEAD` to its revision.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from evonas.errors import StorageError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0006"
"""The newest revision. A constant, so that opening an up-to-date database does not load Alembic."""
VERSION_TABLE = "evonas_version"
"""The table with the revision of a database. Not Alembic's default, so that other programs can share the database."""
_LOCK = 0x65766F6E6173
"""The key of the advisory lock for upgrading a server's tables: "evonas" in ASCII."""


def revision(connection: sa.Connection, place: str) -> str | None:
    """The revision of a database, or None if it has no tables yet.

    Args:
        connection: a connection to the database.
        place: the name of the database for messages.

    Raises:
        StorageError: the database belongs to another program.
    """
    from evonas.db.models import Run  # its metadata has all tables

    tables = set(sa.inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        return connection.scalar(sa.select(sa.column("version_num")).select_from(sa.table(VERSION_TABLE)))
    # A file belongs to one program; a server's database may also hold tables of other programs.
    foreign = tables if connection.dialect.name == "sqlite" else tables & set(Run.metadata.tables)
    if foreign:
        raise StorageError(f"{place} is a database of another program, not of evonas; choose another file or database")
    return None


def upgrade(connection: sa.Connection, place: str) -> None:
    """Upgrade the tables to `HEAD` within the current transaction of `connection`.

    Args:
        connection: a connection to the database.
        place: the name of the database for messages.

    Raises:
        StorageError: the database belongs to another program, or to a newer version of evonas.
    """
    if revision(connection, place) == HEAD:
        return
    if connection.dialect.name == "postgresql":
        # Keeps two processes from both creating the tables of a new database; on SQLite callers hold the write lock.
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = revision(connection, place)
    if found == HEAD:
        return
    check_known(found, place)
    from alembic import command

    command.upgrade(_config(connection), "head")


def check_known(found: str | None, place: str) -> None:
    """Raise `StorageError` for a revision that this version of evonas does not know."""
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if found is not None and found not in known:
        raise StorageError(f"{place} was made by a newer evonas (tables {found!r}); update evonas to use it")


def new(message: str) -> Path:
    """Generate the migration from `HEAD` to `models.py`, and return its path."""
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
    # The parser of the settings would take a % in the folder's name for a reference to another setting.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
