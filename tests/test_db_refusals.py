"""The error messages of the database store: foreign files, damage, locks, permissions, invalid URLs."""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from evonas.db import migrations, open_store, postgres, sqlite
from evonas.errors import StorageError, UsageError
from tests.store_samples import CONFIG, candidate, query, refused, small_database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return small_database(tmp_path)


def test_a_reader_creates_and_changes_nothing(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with refused(UsageError, rf"there is no database at {missing}; `evonas search` creates one"):
        open_store(str(missing), read_only=True)
    assert not missing.exists()
    (tmp_path / "empty.db").touch()
    with refused(StorageError, "has no runs in it yet"):
        open_store(str(tmp_path / "empty.db"), read_only=True)
    assert (tmp_path / "empty.db").stat().st_size == 0
    with open_store(str(path), read_only=True) as reader:
        for change in (
            lambda: reader.create_run(CONFIG, {}),
            lambda: reader.record(1, elapsed=1.0),
            lambda: reader.record_reference(1, "bn-relu", {}),
        ):
            with refused(StorageError, "is read-only"):
                change()


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_no_database_is_left_alone(tmp_path: Path, read_only: bool) -> None:
    file = tmp_path / "notes.db"
    file.write_text("these are my notes\n" * 100)
    with refused(StorageError, "notes.db is not a database"):
        open_store(str(file), read_only=read_only)
    assert file.read_text() == "these are my notes\n" * 100


@pytest.mark.parametrize("read_only", [False, True])
def test_the_database_of_another_program_is_left_alone(tmp_path: Path, read_only: bool) -> None:
    file = tmp_path / "other.db"
    query(file, "CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with refused(StorageError, "a database of another program"):
        open_store(str(file), read_only=read_only)
    assert file.read_bytes() == before


def test_a_damaged_database_is_named(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xa7" * (len(whole) - 4096))
    with refused(StorageError, r"runs.db is damaged|runs.db: the database failed"):
        open_store(str(path)).summary(1)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE candidates SET graph = '{' WHERE number = 0",
        "UPDATE candidates SET kind = 'divine' WHERE number = 0",
        "UPDATE evaluations SET status = 'pending' WHERE number = 0",
    ],
)
def test_a_row_that_makes_no_sense_is_named(path: Path, damage: str) -> None:
    query(path, damage)
    with open_store(str(path)) as store, refused(StorageError, "candidate 0 of run 1 is damaged"):
        list(store.candidates(1))
        list(store.evaluations(1))


def test_a_run_that_makes_no_sense_is_named(path: Path) -> None:
    query(path, "UPDATE runs SET status = 'lost'")
    with open_store(str(path)) as store, refused(StorageError, "run 1 is damaged"):
        store.runs()


@pytest.mark.parametrize("read_only", [False, True])
def test_tables_of_a_newer_version_are_left_alone(path: Path, read_only: bool) -> None:
    query(path, "UPDATE evonas_version SET version_num = '9999'")
    with refused(StorageError, "made by a newer evonas .*update evonas"):
        open_store(str(path), read_only=read_only)


def test_a_reader_does_not_upgrade_tables_of_an_older_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "HEAD", "0000 of a later version")
    with refused(StorageError, "made by an older evonas"):
        open_store(str(path), read_only=True)


def test_a_full_disk_is_named_and_costs_nothing(path: Path) -> None:
    with open_store(str(path)) as store:
        pages = query(path, "PRAGMA page_count")[0][0]

        # SQLite's own way of filling a disk.
        sa.event.listen(store._reading, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {pages}"))
        store.close()  # its next connection has the limit
        many = [candidate(i) for i in range(3, 1000)]
        with refused(StorageError, "the disk that holds .*runs.db is full"):
            store.record(1, candidates=many)
        assert len(list(store.candidates(1))) == 3


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become another user")
def test_folders_and_files_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:  # only its owner may enter pytest's own folder
        folder, file = Path(name), Path(name) / "runs.db"
        with open_store(str(file)) as store:
            store.create_run(CONFIG, {})
        folder.chmod(0o755)
        os.seteuid(65534)
        try:
            with refused(StorageError, "runs.db is read-only"):
                open_store(str(file))
            with refused(StorageError, "new.db cannot be opened; check the permissions"):
                open_store(str(folder / "new.db"))
            with open_store(str(file), read_only=True) as store:
                assert len(store.runs()) == 1
        finally:
            os.seteuid(0)
        file.chmod(0o600)
        os.seteuid(65534)
        try:
            for read_only in (False, True):
                with refused(StorageError, "runs.db cannot be opened; check the permissions"):
                    open_store(str(file), read_only=read_only)
        finally:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("mongodb://u:SECRET@host/runs", "unknown kind of database 'mongodb'; give a path such as"),
        ("mysql://u:SECRET@host/runs", "unknown kind of database 'mysql'"),
        ("postgresql+quill://u:SECRET@host/runs", r"postgresql://host/runs needs the driver 'quill'"),
        ("postgresql://u:SECRET@host:port/runs", "cannot be read"),
        ("postgresql://u:SECRET/@host@host/runs", "needs the driver|cannot be"),
        ("://", "cannot be read"),
        ("", "is not a database"),
        ("runs\0.db", "is not a database"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///runs.db?mode=memory", "must not have options"),
        ("{}", "is a folder; give the path of a file"),
        ("{}/missing/runs.db", "there is no folder .*missing for the database runs.db; create it first"),
    ],
)
def test_what_names_no_database_is_refused(tmp_path: Path, url: str, match: str) -> None:
    with refused(UsageError, match):
        open_store(url.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    for scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        with refused(UsageError, r"postgresql://host/runs needs the driver 'psycopg', .*pip install"):
            open_store(f"{scheme}://u:SECRET@host/runs")


@pytest.mark.parametrize("read_only", [False, True])
def test_a_server_that_is_not_there_is_named(tmp_path: Path, read_only: bool) -> None:
    with refused(StorageError, rf"postgresql://{tmp_path}/runs does not answer \(.*is the server running"):
        open_store(f"postgresql://u:1/SECRET@/runs?host={tmp_path}&password=SECRET", read_only=read_only)


def test_a_lock_that_stays_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    with (
        open_store(str(path)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        store.close()  # its next connection has the short timeout
        with refused(StorageError, "is locked by another process"):
            store.record(1, elapsed=1.0)
        with refused(StorageError, "is locked by another process"):
            open_store(str(path))
        assert store.run(1).elapsed == 0.0  # reading still works
        other.execute("ROLLBACK")
        store.record(1, elapsed=1.0)


@pytest.mark.parametrize("table", ["candidates", "evaluations"])
def test_a_candidate_of_which_a_part_is_missing_is_said_to_be_damaged(path: Path, table: str) -> None:
    query(path, f"DELETE FROM {table} WHERE number = 0")
    with open_store(str(path)) as store, refused(StorageError, "candidate 0 of run 1 is damaged: a part of it is"):
        store.pairs(1, [0])


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/runs", "postgresql://host/runs"),
        ("postgresql:///runs", "postgresql://localhost/runs"),
        ("postgresql:///runs?host=/tmp/socket", "postgresql:///tmp/socket/runs"),
        ("postgresql:///runs?host=one&host=two", "postgresql://localhost/runs"),
        ("postgresql://host", "postgresql://host/"),
    ],
)
def test_a_database_is_named_without_its_password(url: str, shown: str) -> None:
    assert postgres.without_password(sa.make_url(url)) == shown


def test_a_password_that_was_not_escaped_is_not_shown() -> None:
    assert "secret" not in postgres.without_password(sa.make_url("postgresql://me:half@secret/half@host/runs"))
