"""A PostgreSQL server for tests: the one that `EVONAS_TEST_POSTGRES` names, or one that is started here.

Debian's package `postgresql` has the programs. The server runs as an unprivileged user in a temporary folder, and
listens only on a socket in it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

VARIABLE = "EVONAS_TEST_POSTGRES"


class Server:
    """A server in its own folder. `url` is that of an empty database on it."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        account = pwd.getpwnam(self._user)
        self._identity = {"user": account.pw_uid, "group": account.pw_gid} if os.geteuid() == 0 else {}
        os.chown(folder, account.pw_uid, account.pw_gid)
        self._call("initdb", "-D", "data", "-A", "trust", "-U", self._user, "--locale=C", "-E", "UTF8", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@/postgres?host={self._folder}"

    def start(self) -> None:
        # Data of tests need not survive a power cut.
        options = f"-k {self._folder} -c listen_addresses='' -c fsync=off -c max_connections=40"
        self._call("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self, how: str = "fast") -> None:
        self._call("pg_ctl", "stop", "-D", "data", "-m", how)

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,  # the server would inherit a pipe and keep it open
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
            **self._identity,  # type: ignore[call-overload]
        )
        log = self._folder / "log"
        assert done.returncode == 0, f"{program} failed: {log.read_text() if log.exists() else 'no log'}"


def programs() -> Path | None:
    """The folder with the programs of the newest server, or None."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


@contextmanager
def started() -> Iterator[Server]:
    """A server that is started for the tests; the test is skipped if its programs are not installed."""
    found = programs()
    if found is None:
        pytest.skip(f"no PostgreSQL here: install Debian's package postgresql, or set {VARIABLE}")
    with tempfile.TemporaryDirectory(prefix="evonas-pg-") as name:  # short, because the path of a socket must be
        server = Server(found, Path(name))
        try:
            yield server
        finally:
            server.stop("immediate")


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty schema, which is dropped at the end."""
    given = os.environ.get(VARIABLE)
    if given:
        with _schema(given) as url:
            yield url
        return
    with started() as server:
        yield server.url


@contextmanager
def _schema(url: str) -> Iterator[str]:
    """A schema of its own in a database that may have others."""
    parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    name = f"evonas_test_{os.getpid()}"
    engine = sa.create_engine(parsed)
    try:
        with engine.begin() as connection:
            connection.execute(sa.schema.CreateSchema(name))
        yield parsed.update_query_dict({"options": f"-csearch_path={name}"}).render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.schema.DropSchema(name, cascade=True))
        engine.dispose()


def emptied(url: str) -> str:
    """The same URL, after all tables have been emptied and their ids reset to 1."""
    from evonas.db.models import Base

    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        there = set(sa.inspect(connection).get_table_names())
        tables = [table.name for table in Base.metadata.sorted_tables if table.name in there]
        if tables:
            connection.execute(sa.text(f"TRUNCATE {', '.join(tables)} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return url
