"""SQLite files: connecting to them, and the durability of their transactions.

A file is in WAL mode: one writer and any number of readers work at the same time, and each reader sees the state at the
beginning of its transaction. With `synchronous=FULL` a transaction is on the disk before its commit returns, so that it
survives a killed process and, if the disk really writes what it acknowledges, a power cut. NORMAL survives only the
former; it saves a few milliseconds per commit, where a candidate takes seconds.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event

BUSY_SECONDS = 10.0
"""Seconds that a writer waits for another's lock."""
CACHE_MIB = 32
"""Page cache of a connection. A batch that does not fit is written to the log in parts, some of them twice."""


def sqlite_engine(path: Path, mode: str) -> Engine:
    """An engine on a file.

    Args:
        path: the absolute path of the file, so that a later change of directory does not matter.
        mode: "rwc" to write and create, "ro" to read, "immutable" to read a file that nobody writes to.
    """
    options = "mode=ro&immutable=1" if mode == "immutable" else f"mode={mode}"
    uri = f"file:{quote(os.fsencode(path))}?{options}"  # a path may be in any encoding

    def connect() -> sqlite3.Connection:
        # isolation_level=None keeps Python from beginning transactions; `_begin` does that.
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

    Without WAL mode readers and the writer wait for each other, so a file system that does not support it (some network
    file systems) makes the store slow, but not wrong.
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
                # The change needs exclusive access to the file, and SQLite does not wait for that itself.
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)
    finally:
        raw.close()


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then finds the write lock held fails in SQLite instead of waiting, so a
    # writer takes the lock at once.
    writes = connection.get_execution_options().get("evonas_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
