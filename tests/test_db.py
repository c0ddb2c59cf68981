"""The database store beyond the contract: opening files, plain SQL, and other processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from evonas.db import migrations, open_store, sqlite
from evonas.db.backup import backup
from evonas.db.models import Base
from evonas.errors import StorageError, UsageError
from evonas.language.graph import Graph, Node
from evonas.records.run_info import RunStatus
from evonas.settings.candidate import Candidate, Origin, OriginKind
from tests.store_samples import CONFIG, candidate, failed, query, rejected, scored, small_database

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return small_database(tmp_path)


# Copying


def test_a_backup_is_whole_while_the_database_is_open(path: Path, tmp_path: Path) -> None:
    """What has just been recorded is in the log beside the file."""
    copy = tmp_path / "copy.db"
    with open_store(str(path)) as store:
        run = store.create_run(CONFIG, {})
        assert path.with_name(path.name + "-wal").stat().st_size > 0
        for _ in range(2):  # also over an older copy
            backup(str(path), copy)
    with open_store(str(copy), read_only=True) as store:
        assert store.run(run.id).config == CONFIG
        assert list(store.candidates(1)) == [candidate(0), candidate(1), candidate(2, 0)]
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("copy")) == ["copy.db"]


def test_what_cannot_be_copied_is_said(path: Path, tmp_path: Path) -> None:
    for source, target, message in (
        (tmp_path / "absent.db", tmp_path / "copy.db", "there is no database"),
        ("postgresql://host/db", tmp_path / "copy.db", "pg_dump"),
        (path, path, "is the database itself"),
    ):
        with pytest.raises(UsageError, match=message):
            backup(str(source), target)
    with pytest.raises(StorageError, match="cannot be copied to"):
        backup(str(path), tmp_path / "nowhere" / "copy.db")
    assert not (tmp_path / "copy.db").exists()


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
        assert len(made) > 2
    assert ScriptDirectory(str(ROOT / "db" / "migrations")).get_current_head() == migrations.HEAD


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_migrations_go_down_and_up_again(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from alembic import command

    url = f"sqlite:///{tmp_path / 'runs.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    open_store(url).close()
    engine = sa.create_engine(sa.make_url(url).set(drivername="sqlite" if kind == "sqlite" else "postgresql+psycopg"))
    with engine.begin() as connection:
        made = set(sa.inspect(connection).get_table_names())
        command.downgrade(migrations._config(connection), "base")
    with engine.begin() as connection:
        assert set(sa.inspect(connection).get_table_names()) & set(Base.metadata.tables) == set()
    engine.dispose()
    with open_store(url) as store:
        assert store.create_run(CONFIG, {}).id == 1
    with engine.begin() as connection:
        assert set(sa.inspect(connection).get_table_names()) == made
    engine.dispose()


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


def test_totals_are_read_from_indices_alone(path: Path) -> None:
    for table, columns in (("drawing", "discarded, timed"), ("filter_outcomes", "accepted, reason")):
        plan = (
            f"EXPLAIN QUERY PLAN SELECT filter, sum(seconds), {columns} FROM {table} WHERE run_id = 1 GROUP BY filter"
        )
        steps = [str(row[3]) for row in query(path, plan)]
        assert f"COVERING INDEX ix_{table}_by_filter" in steps[0]
        assert not any("TEMP B-TREE" in step for step in steps)


def test_a_graph_too_long_to_write_out_is_recorded_without_its_expression(path: Path) -> None:
    # Not a sum of equal terms only, which simplifies: x -> tanh(x) * exp(x) doubles the text each time.
    nodes: list[Node] = []
    for top in range(3, 60, 3):
        last = 0 if top == 3 else top
        nodes += [Node("tanh", (last,)), Node("sigmoid", (last,)), Node("mul", (top + 1, top + 2))]
    huge = Candidate(3, Graph(tuple(nodes), 3 + len(nodes)), "k", "f", Origin(OriginKind.RANDOM))
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
    two = Candidate(3, candidate(0).graph, "k", "f", Origin(OriginKind.MUTATION, np.int64(2)), {"d": np.int64(4)})
    with open_store(str(path)) as store:
        store.record(1, candidates=[two], evaluations=[scored(3, np.float32(0.5), np.float64(0.1))])
        assert store.candidate(1, 3) == two
        assert store.evaluation(1, 3) == scored(3, 0.5, 0.1)


# Other processes

RECORDS_FOR_EVER = """
import sys
from evonas.db import open_store
from evonas.records.run_info import RunStatus
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


def test_constraints_are_called_in_the_code_as_in_the_tables_that_migrations_make(path: Path) -> None:
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        inspector = sa.inspect(connection)
        for table in Base.metadata.sorted_tables:
            assert inspector.get_pk_constraint(table.name)["name"] == table.primary_key.name
            made = {key["name"] for key in inspector.get_foreign_keys(table.name)}
            assert made == {constraint.name for constraint in table.foreign_key_constraints}
