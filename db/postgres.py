"""PostgreSQL, the database of a cluster: connecting to it, and what it is called in messages."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from evonas.errors import UsageError, shorten

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The driver of a URL that names none."""
_MISPLACED = "…"
CONNECT_SECONDS = 10
"""How long to wait for a server to answer."""
LOCK_SECONDS = 10
"""How long a statement waits for another's lock; the file of SQLite has the same patience."""


def postgres_engine(url: URL) -> Engine:
    """An engine on a server's database. Nothing is connected yet.

    Raises:
        UsageError: for a driver that is missing, or a URL that it cannot use.
    """
    unusable = UsageError(
        f"the database URL of {shown(url)} cannot be used; write postgresql://user@host/name, with "
        "/, @, : and % in a password as %2F, %40, %3A and %25"
    )
    if _MISPLACED in shown(url):
        raise unusable  # before the driver, whose messages would tell what it takes for the host
    settings = {}
    if url.get_driver_name() == "psycopg":  # another driver may know neither
        given = url.query.get("options", "")
        options = given if isinstance(given, str) else " ".join(given)
        settings = {
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c lock_timeout={LOCK_SECONDS}s {options}".strip(),
            "application_name": "evonas",
        }
    try:
        # A connection that broke while nobody used it, at a restart of the server, is made again.
        return create_engine(url, connect_args=settings, pool_pre_ping=True)
    except (ImportError, NoSuchModuleError):
        name = url.get_driver_name() if "+" in url.drivername else url.drivername
        raise UsageError(
            f"{shown(url)} needs the driver {shorten(name)}, which is not installed; "
            "`pip install 'psycopg[binary]'` and a URL that starts with postgresql:// will do"
        ) from None
    except (ArgumentError, TypeError, ValueError):
        raise unusable from None


def shown(url: URL) -> str:
    """The database as a person would name it, without its password."""
    # An unescaped @ or / in a password moves a part of it into what is taken for the host or the name.
    socket = url.query.get("host")
    host = url.host or (socket if isinstance(socket, str) else "localhost")
    parts = f"{host}/{url.database or ''}"
    return f"{url.get_backend_name()}://{_MISPLACED if '@' in parts else parts}"
