"""The command `evonas rerank`: its tables, bad requests, and a kill while it trains."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command as alembic_command
from sqlalchemy import create_engine

import evonas
from evonas.db import migrations
from evonas.workers.executors import local_executor
from tests.store_samples import small_database
from tests.test_cli import TINY, Call

ASKED = ("--top", 2, "--seeds", 6, "--steps", 2, "--report", 1, "--reference", "bn-relu", "--executor", "local")
TRAININGS = (2 + 1) * 6 + (1 + 1) * 6


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(monkeypatch, capsys)


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the tasks that this process has trained."""
    done: list[str] = []
    evaluate_task = local_executor.evaluate_task

    def counted(task: evonas.evolution.executor.Task, data: object) -> object:
        done.append(task.label)
        return evaluate_task(task, data)  # type: ignore[arg-type]

    monkeypatch.setattr(local_executor, "evaluate_task", counted)
    return done


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("searched") / "runs.db"
    seeds = ["evonorm-s0", "x * sigmoid(x)", "tanh(x)"]
    asked = {"protocol": TINY, "executor": "local", "references": (), "verify": False}
    found = evonas.search(budget=3, seed_graphs=seeds, storage=path, **asked)  # type: ignore[arg-type]
    assert len(found.best()) >= 2, "the fixture is of no use without layers to rank"
    found.store.close()
    return path


@pytest.fixture
def database(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(searched, tmp_path / "runs.db"))


def recorded(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return int(connection.execute("select count(*) from retrainings").fetchone()[0])


def test_it_ranks_reports_and_repeats_itself_without_training(call: Call, database: Path, trainings: list[str]) -> None:
    asked = ("rerank", *ASKED, "--transfer", "mobilenet-small", "--storage", database)
    code, out, err = call(*asked)
    assert code == 0, err
    assert len(trainings) == TRAININGS + (1 + 1) * 6 == recorded(database)
    cost = re.match(r"at most (\d+) trainings, about (\d+\.\d) core-minutes; Ctrl-C keeps what is done\n", err)
    assert cost is not None and int(cost[1]) == len(trainings)
    assert err.endswith(f"training: {len(trainings)} of {len(trainings)} trainings done\n")
    assert max(map(len, err.splitlines())) <= 80
    for word in (
        "run 1: accuracy after 2 steps, seeds 1000 to 1005",
        "seeds 1006 to 1011",
        "bn-relu",
        "mobilenet-small",
    ):
        assert word in " ".join(out.split())
    assert call(*asked)[1:] == (out, ""), "what is there costs nothing"
    document = call.json(*asked)
    assert len(trainings) == recorded(database), "shown again, not measured again"
    assert [layer["searched"] is not None for layer in document["layers"]] == [True, True]
    assert document["reported"] == [document["layers"][0]["id"]]
    assert set(document["layers"][0]) - set(document["layers"][1]) == {"test", "transfer"}
    assert [c["stage"] for c in document["comparisons"]] == ["held-out", "test", "transfer"]
    for one in (*document["layers"], *document["references"]):
        low, high = one["held-out"]["interval"]
        assert low <= one["held-out"]["mean"] <= high
        assert all(set(of) == {str(s) for s in range(1000, 1006)} for of in one["held-out"]["scores"].values())


def test_killed_while_training_the_same_command_continues_to_the_same_table(
    call: Call, database: Path, tmp_path: Path, trainings: list[str]
) -> None:
    undisturbed = Path(shutil.copy(database, tmp_path / "undisturbed.db"))
    asked = ("rerank", *ASKED, "--transfer", "none", "--storage")
    code, expected, err = call(*asked, undisturbed)
    assert code == 0, err
    assert len(trainings) == TRAININGS
    command = [sys.executable, "-m", "evonas", *map(str, (*asked, database))]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 120
    while recorded(database) < 3 and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.002)
    process.kill()
    assert process.wait(timeout=60) == -signal.SIGKILL
    kept = recorded(database)
    assert 3 <= kept < TRAININGS
    trainings.clear()
    code, out, err = call(*asked, database)
    assert code == 0, err
    assert out == expected
    assert len(trainings) == TRAININGS - kept


def test_ctrl_c_says_that_nothing_is_lost(call: Call, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate_task, done = local_executor.evaluate_task, []

    def interrupted(task: evonas.evolution.executor.Task, data: object) -> object:
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(task)
        return evaluate_task(task, data)  # type: ignore[arg-type]

    monkeypatch.setattr(local_executor, "evaluate_task", interrupted)
    code, out, err = call("rerank", *ASKED, "--transfer", "none", "--storage", database)
    assert code == 130 and out == ""
    assert "4 trainings were recorded; the same command continues" in " ".join(err.split())
    assert recorded(database) == 4


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["9"], "there is no run 9; runs here: 1"),
        (["one"], "a run is a number or 'last'"),
        (["--top", "0"], "top must be at least 1, not 0"),
        (["--seeds", "0"], "seeds must be at least 1"),
        (["--report", "0"], "report must be at least 1"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--first-seed", "-1"], "seed must be at least 0"),
        (["--held-out", "0"], "held_out must be greater than 0 and less than 1"),
        (["--held-out", "1"], "held_out must be greater than 0 and less than 1"),
        (["--held-out", "0.99999"], "cannot be held out"),
        (["--reference", "bn-reul"], "unknown layer 'bn-reul'"),
        (["--transfer", "vgg-huge"], "unknown anchor 'vgg-huge'"),
        (["--transfer", "resnet-small"], "run 1 was searched with resnet-small"),
        (["--executor", "cloud"], "unknown executor 'cloud'"),
    ],
)
def test_a_bad_request_is_one_line(call: Call, database: Path, arguments: list[str], says: str) -> None:
    transfer = [] if "--transfer" in arguments else ["--transfer", "none"]
    executor = [] if "--executor" in arguments else ["--executor", "local"]
    code, out, err = call("rerank", *arguments, *transfer, *executor, "--storage", database)
    assert code == 2, (out, err)
    assert err.startswith("evonas: ") and says in err
    assert len(err.strip().splitlines()) == 1
    assert recorded(database) == 0


def test_a_run_without_scored_layers_and_a_database_that_is_not_there(
    call: Call, database: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("update evaluations set status = 'rejected'")
        connection.commit()
    code, _, err = call("rerank", "--transfer", "none", "--storage", database)
    assert code == 2 and "run 1 has no scored layer yet" in err
    code, _, err = call("rerank", "--storage", tmp_path / "absent.db")
    assert code == 2 and "there is no database" in err
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "empty.db").touch()
    code, _, err = call("rerank", "--storage", tmp_path / "empty.db")
    assert code == 2 and "has no runs in it yet" in err


@pytest.mark.parametrize("command", ["rerank", "resume"])
def test_a_database_of_an_older_version_is_upgraded(call: Call, tmp_path: Path, command: str) -> None:
    path = small_database(tmp_path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        alembic_command.downgrade(migrations._config(connection), "0002")
    engine.dispose()
    code, _, err = call(command, "--ray-address", "127.0.0.1:1", "--storage", path)
    assert code == 2 and "older evonas" not in err  # what is refused comes after the upgrade
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select version_num from evonas_version").fetchone() == (migrations.HEAD,)
