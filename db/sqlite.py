"""SQLite files: connecting to them, and what they promise.

A file is in WAL mode: one writer and any number of readers work at once, each reader on the state as it
was when its transaction began. With `synchronous=FULL` a transaction is on the disk before its commit
returns: it survives a killed process and, where the disk does not lie, a power cut. NORMAL would survive
the first only; the difference is a few milliseconds a commit, against seconds for a candidate.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

BUSY_SECONDS = 10.0
"""How long a writer waits for another's lock."""
CACHE_MIB = 32
"""Pages that a connection keeps. A batch that does not fit is written to the log in parts, some of them twice."""


def sqlite_engine(path: Path, mode: str) -> Engine:
    """An engine on a file.

    Args:
        path: the file, absolute, so that a later change of folder does not matter.
        mode: "rwc" to write and create, "ro" to read, "immutable" to read a file that nobody can write.
    """
    options = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"file:{quote(str(path))}?{options}"

    def connect() -> sqlite3.Connection:
        # isolation_level=None: Python begins no transactions by itself, `_begin` does.
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        if mode != "rwc":
            connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{CACHE_MIB * 1024}")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)
    event.listen(engine, "begin", _begin)
    return engine


def use_wal(engine: Engine) -> None:
    """Put the file in WAL mode, which it then keeps.

    Without it readers and the writer wait for each other, so that a file system which cannot do it
    (some network ones) makes a store slow, not wrong.
    """
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                # The change needs the file to itself, and SQLite does not wait for that.
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
    finally:
        raw.close()


def _begin(connection: Connection) -> None:
    # A writer that began by reading could find the lock taken when it comes to write, and SQLite does
    # not let it wait then; so it takes the lock at once.
    writes = connection.get_execution_options().get("evonas_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
