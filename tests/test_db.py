"""The database store beyond the contract: files, other processes, damage, other versions."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from evonas.candidate import Candidate, Kind, Origin
from evonas.db import migrations, open_store, sqlite
from evonas.db.models import Base
from evonas.errors import EvonasError, StorageError, UsageError
from evonas.graph import Graph, Node
from evonas.store import RunStatus
from tests.store_samples import CONFIG, candidate, failed, rejected, scored

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one run, a scored, a rejected and an unfinished candidate."""
    file = tmp_path / "runs.db"
    with open_store(str(file)) as store:
        store.create_run(CONFIG, {})
        store.record(
            1, candidates=[candidate(0), candidate(1), candidate(2, 0)], evaluations=[scored(0, 0.5), rejected(1)]
        )
    return file


def query(file: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return rows


@contextmanager
def refused(kind: type[EvonasError], match: str) -> Iterator[None]:
    """The block raises `kind`, whose message is one line that matches."""
    with pytest.raises(kind, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "SECRET" not in str(caught.value)


# Opening


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+pysqlite:///{}"])
def test_a_path_and_its_urls_are_one_database(path: Path, form: str) -> None:
    with open_store(form.format(path)) as store:
        assert list(store.candidates(1)) == [candidate(0), candidate(1), candidate(2, 0)]


@pytest.mark.parametrize("name", ["a b.db", "50%25.db", "what?mode=memory.db", "a#b.db", "ünï.db", "semi;'q.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    with open_store(str(tmp_path / name)) as store:
        store.create_run(CONFIG, {})
    assert (tmp_path / name).is_file()
    with open_store(str(tmp_path / name), read_only=True) as store:
        assert len(store.runs()) == 1


def test_a_relative_path_survives_a_change_of_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("runs.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.close()  # so that a new connection is needed
    store.create_run(CONFIG, {})
    assert [p.name for p in tmp_path.glob("**/*.db")] == ["runs.db"]


def test_the_file_promises_what_the_contract_does(path: Path) -> None:
    assert query(path, "PRAGMA journal_mode") == [("wal",)]
    engine = sqlite.sqlite_engine(path, "rwc")
    with engine.connect() as connection:
        pragmas = {p: connection.scalar(sa.text(f"PRAGMA {p}")) for p in ("foreign_keys", "synchronous")}
        assert pragmas == {"foreign_keys": 1, "synchronous": 2}  # 2 is FULL
        assert connection.scalar(sa.text("PRAGMA busy_timeout")) == 10_000
    engine.dispose()


def test_the_migrations_make_the_tables_of_the_models(path: Path, tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        options = {"version_table": migrations.VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()
    # What Alembic does not compare: keys, foreign keys, and which tables are stored in order of their key.
    modelled = sa.create_engine(f"sqlite:///{tmp_path / 'modelled.db'}")
    Base.metadata.create_all(modelled)
    modelled.dispose()
    for asked in (
        "SELECT name, wr FROM pragma_table_list WHERE name NOT LIKE 'sqlite_%'",
        """SELECT t.name, c.* FROM pragma_table_list t JOIN pragma_table_info(t.name) c""",
        """SELECT t.name, f."from", f."table", f."to"
           FROM pragma_table_list t JOIN pragma_foreign_key_list(t.name) f""",
        "SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL",
    ):
        made = {row for row in query(path, asked) if row[0] != migrations.VERSION_TABLE}
        assert made == set(query(tmp_path / "modelled.db", asked))
        assert len(made) > 3
    assert ScriptDirectory(str(ROOT / "db" / "migrations")).get_current_head() == migrations.HEAD


def test_opening_an_up_to_date_database_does_not_load_alembic(path: Path) -> None:
    code = "import sys; from evonas.db import open_store\nfor r in (0, 1): open_store(sys.argv[1], read_only=r)\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "sys.exit('alembic' in sys.modules)", str(path)], cwd=ROOT, timeout=60
    )
    assert done.returncode == 0


# Plain SQL


def test_plain_sql_answers_what_a_reader_asks(path: Path) -> None:
    asked = """
        SELECT c.number, c.expression, e.mean, s.score FROM candidates c
        JOIN evaluations e USING (run_id, number) JOIN scores s USING (run_id, number)
        WHERE e.status = 'scored' AND s.objective = 'mobilenet-small' ORDER BY e.mean DESC
    """
    expression = candidate(0).graph.canonical.expression()
    assert query(path, asked) == [(0, expression, 0.5, 0.5)]
    assert query(path, "SELECT number, parent, kind FROM candidates WHERE parent = 0") == [(2, 0, "mutation")]
    assert query(path, "SELECT count(*) FROM mutations WHERE number = 2") == [(2,)]
    assert query(path, "SELECT reason FROM filter_outcomes WHERE NOT accepted") == [("below the floor",)]
    assert query(path, "SELECT space, strategy, seed FROM runs") == [("evonorm", "pareto", "7")]
    assert query(path, "SELECT sum(discarded) FROM drawing WHERE filter = 'structural'") == [(12,)]


def test_the_best_are_found_by_an_index(path: Path) -> None:
    plan = "EXPLAIN QUERY PLAN SELECT number FROM evaluations WHERE run_id = 1 AND status = 'scored' "
    steps = [str(row[3]) for row in query(path, plan + "ORDER BY mean DESC NULLS LAST, number LIMIT 10")]
    assert "ix_evaluations_run_id_status_mean" in steps[0]
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps)


def test_a_graph_too_long_to_write_out_is_recorded_without_its_expression(path: Path) -> None:
    # Not a sum of equal terms only, which simplifies: x -> tanh(x) * exp(x) doubles the text each time.
    nodes: list[Node] = []
    for top in range(3, 60, 3):
        last = 0 if top == 3 else top
        nodes += [Node("tanh", (last,)), Node("sigmoid", (last,)), Node("mul", (top + 1, top + 2))]
    huge = Candidate(3, Graph(tuple(nodes), 3 + len(nodes)), "k", "f", Origin(Kind.RANDOM))
    with open_store(str(path)) as store:
        store.record(1, candidates=[huge])
        assert store.candidate(1, 3) == huge
    assert query(path, "SELECT expression FROM candidates WHERE number = 3") == [(None,)]


def test_text_that_no_database_keeps_does_not_stop_a_search(path: Path) -> None:
    with open_store(str(path)) as store:
        store.record(1, evaluations=[failed(2, "worker said \0 \ud800 😀 'x'); DROP TABLE runs; --")])
        read = store.evaluation(1, 2)
        assert read is not None
        assert read.reason == "worker said \ufffd \ufffd 😀 'x'); DROP TABLE runs; --"
        assert len(store.runs()) == 1


def test_numbers_of_numpy_are_numbers(path: Path) -> None:
    two = Candidate(3, candidate(0).graph, "k", "f", Origin(Kind.MUTATION, np.int64(2)), {"d": np.int64(4)})
    with open_store(str(path)) as store:
        store.record(1, candidates=[two], evaluations=[scored(3, np.float32(0.5), np.float64(0.1))])
        assert store.candidate(1, 3) == two
        assert store.evaluation(1, 3) == scored(3, 0.5, 0.1)


# Other processes

RECORDS_FOR_EVER = """
import sys
from evonas.db import open_store
from evonas.store import RunStatus
from tests.store_samples import CONFIG, candidate, scored

with open_store(sys.argv[1]) as store:
    run = store.create_run(CONFIG, {}).id
    for first in range(0, 10**6, 3):
        numbers = range(first, first + 3)
        store.record(run, candidates=[candidate(i) for i in numbers], elapsed=float(first + 3),
                     evaluations=[scored(i, 0.5) for i in numbers])
        print(first + 3, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_recorded(tmp_path: Path) -> None:
    file = tmp_path / "runs.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", RECORDS_FOR_EVER, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert writer.stdout is not None
        recorded = 0
        while recorded < 60:
            line = writer.stdout.readline()
            assert line, "the writer died by itself"
            recorded = int(line)
    finally:
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read() if writer.stdout else ""
        writer.wait()
    recorded = max([recorded, *(int(line) for line in rest.split("\n")[:-1])])  # the last may be cut

    # A viewer comes first, while the log of the dead process still lies beside the file.
    with open_store(str(file), read_only=True) as store:
        candidates, evaluations = list(store.candidates(1)), list(store.evaluations(1))
    assert recorded <= len(candidates) <= recorded + 3
    assert candidates == [candidate(i) for i in range(len(candidates))]
    assert evaluations == [scored(i, 0.5) for i in range(len(candidates))]
    with open_store(str(file)) as store:
        assert store.run(1).elapsed == len(candidates)
        assert store.run(1).status is RunStatus.RUNNING
        store.record(1, candidates=[candidate(len(candidates))], status=RunStatus.INTERRUPTED)
    assert query(file, "PRAGMA integrity_check") == [("ok",)]
    assert query(file, "PRAGMA foreign_key_check") == []


def test_a_reader_sees_whole_calls_while_a_writer_writes(path: Path) -> None:
    stop, torn, seen = threading.Event(), [], set()

    def read() -> None:
        with open_store(str(path), read_only=True) as reader:
            while not stop.is_set():
                summary = reader.summary(1)
                seen.add(summary.candidates)
                if summary.candidates != 3 + summary.evaluations - 2:
                    torn.append(summary)

    thread = threading.Thread(target=read)
    thread.start()
    with open_store(str(path)) as store:
        for first in range(3, 123, 4):
            numbers = range(first, first + 4)
            store.record(1, candidates=[candidate(i) for i in numbers], evaluations=[rejected(i) for i in numbers])
    stop.set()
    thread.join()
    assert torn == []
    assert len(seen) > 1


def test_iterating_does_not_hold_a_reader_to_an_old_state(path: Path) -> None:
    with open_store(str(path)) as store, open_store(str(path), read_only=True) as reader:
        slow = reader.candidates(1)
        assert next(slow) == candidate(0)
        store.record(1, candidates=[candidate(3)])
        assert reader.candidate(1, 3) == candidate(3)
        assert query(path, "PRAGMA wal_checkpoint(TRUNCATE)") == [(0, 0, 0)]


def test_a_lock_that_stays_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    with (
        open_store(str(path)) as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        store.close()  # its next connection has the short patience
        with refused(StorageError, "is locked by another process"):
            store.record(1, elapsed=1.0)
        with refused(StorageError, "is locked by another process"):
            open_store(str(path))
        assert store.run(1).elapsed == 0.0  # reading goes on
        other.execute("ROLLBACK")
        store.record(1, elapsed=1.0)


def test_two_may_create_one_database_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def create() -> None:
        try:
            with open_store(str(tmp_path / "runs.db")) as store:
                store.create_run(CONFIG, {})
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with open_store(str(tmp_path / "runs.db"), read_only=True) as store:
        assert [info.id for info in store.runs()] == [1, 2, 3, 4]


# What goes wrong


def test_a_reader_creates_and_changes_nothing(path: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    with refused(UsageError, rf"there is no database at {missing}; `evonas search` makes one"):
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
    monkeypatch.setattr(migrations, "HEAD", "0002")
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
    with tempfile.TemporaryDirectory() as name:  # pytest's own may be entered by its owner alone
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
        ("postgresql://u:1/SECRET@host/runs?password=SECRET", "needs the driver|cannot be"),
        ("://", "cannot be read"),
        ("", "is no database"),
        ("runs\0.db", "is no database"),
        ("sqlite://", "should name a file"),
        ("sqlite:///:memory:", "should name a file"),
        ("sqlite:///runs.db?mode=memory", "takes no options"),
        ("{}", "is a folder; give the path of a file"),
        ("{}/missing/runs.db", "there is no folder .*missing for the database runs.db; make it first"),
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
