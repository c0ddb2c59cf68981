"""PostgreSQL, the database for clusters: connecting to it, and its name in messages."""

from __future__ import annotations

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from evonas.errors import UsageError, shorten

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The driver that replaces a scheme without a driver."""
_MISPLACED = "…"
CONNECT_SECONDS = 10
"""Seconds to wait for a server to answer."""
LOCK_SECONDS = 10
"""Seconds that a statement waits for another's lock, as long as `evonas.db.sqlite.BUSY_SECONDS`."""


def postgres_engine(url: URL) -> Engine:
    """An engine on a server's database, which connects when it is first used.

    Raises:
        UsageError: the driver is missing, or cannot use the URL.
    """
    unusable = UsageError(
        f"the database URL of {without_password(url)} cannot be used; write postgresql://user@host/name, and escape "
        "/, @, : and % in a password as %2F, %40, %3A and %25"
    )
    if _MISPLACED in without_password(url):
        raise unusable  # before the driver sees it, whose messages would show a part of the password as the host
    settings = {}
    if url.get_driver_name() == "psycopg":  # other drivers may not know these
        given = url.query.get("options", "")
        options = given if isinstance(given, str) else " ".join(given)
        settings = {
            "connect_timeout": CONNECT_SECONDS,
            "options": f"-c lock_timeout={LOCK_SECONDS}s {options}".strip(),
            "application_name": "evonas",
        }
    try:
        # pool_pre_ping replaces connections that broke while idle, as at a restart of the server.
        return create_engine(url, connect_args=settings, pool_pre_ping=True)
    except (ImportError, NoSuchModuleError):
        name = url.get_driver_name() if "+" in url.drivername else url.drivername
        raise UsageError(
            f"{without_password(url)} needs the driver {shorten(name)}, which is not installed; "
            "run `pip install 'psycopg[binary]'` and give a URL that starts with postgresql://"
        ) from None
    except (ArgumentError, TypeError, ValueError):
        raise unusable from None


def without_password(url: URL) -> str:
    """The name of a database for messages, without its password."""
    # An unescaped @ or / in a password makes a part of it look like the host or the database name.
    socket = url.query.get("host")
    host = url.host or (socket if isinstance(socket, str) else "localhost")
    parts = f"{host}/{url.database or ''}"
    return f"{url.get_backend_name()}://{_MISPLACED if '@' in parts else parts}"
