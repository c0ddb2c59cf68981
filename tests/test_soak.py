"""The check of the soak test finds lost, doubled and stuck candidates, and ones drawn or scored differently."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.checking import check
from benchmarks.soak.processes import alive, family
from evonas.db import open_store
from evonas.evolution.loop import Search
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.executors.local_executor import LocalExecutor
from tests.test_faults import SETTINGS


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with a run of real, tiny trainings."""
    path = tmp_path_factory.mktemp("soak") / "soak.db"
    with open_store(str(path)) as store, LocalExecutor(load_dataset("digits")) as executor:
        Search(store.create_run(replace(SETTINGS, budget=7), {}), store, executor).execute()
    return path


def checked(path: Path, folder: Path, sql: str = "") -> tuple[bool, dict[str, list[int]]]:
    """Check a copy of the database after some SQL, and return the result."""
    copy = folder / "copy.db"
    with closing(sqlite3.connect(path)) as found, closing(sqlite3.connect(copy)) as kept:
        found.backup(kept)
        kept.executescript(sql)
    with open_store(str(copy)) as store:
        result = check(store, 1, 6)
    names = ("lost", "doubled", "stuck", "drawn_otherwise", "scored_otherwise")
    return result.whole, {name: value for name in names if (value := getattr(result, name))}


def test_an_undisturbed_run_is_whole(finished: Path, tmp_path: Path) -> None:
    assert checked(finished, tmp_path) == (True, {})


_REMOVE = ("scores", "measures", "training", "filter_outcomes", "evaluations")
_GONE = "".join(f"DELETE FROM {table} WHERE number = 3;" for table in _REMOVE)


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        (_GONE, {"stuck": [3]}),
        (
            _GONE + "".join(f"DELETE FROM {t} WHERE number = 3;" for t in ("mutations", "drawing", "candidates")),
            {"lost": [3]},
        ),
    ],
)
def test_what_is_wrong_is_found(finished: Path, tmp_path: Path, sql: str, found: dict[str, list[int]]) -> None:
    whole, wrong = checked(finished, tmp_path, sql)
    assert not whole and {name: wrong.get(name) for name in found} == found


def test_a_score_that_is_another_is_found(finished: Path, tmp_path: Path) -> None:
    whole, wrong = checked(finished, tmp_path, "UPDATE scores SET score = score + 1e-9 WHERE number = 0;")
    assert not whole and 0 in wrong["scored_otherwise"]


def test_a_candidate_that_is_another_is_found(finished: Path, tmp_path: Path) -> None:
    sql = """UPDATE candidates SET graph = (SELECT graph FROM candidates WHERE number = 0),
             functional_key = (SELECT functional_key FROM candidates WHERE number = 0) WHERE number = 6;"""
    whole, wrong = checked(finished, tmp_path, sql)
    assert not whole and wrong["doubled"] == [6] and 6 in wrong["drawn_otherwise"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")
def test_a_family_of_processes() -> None:
    script = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    with subprocess.Popen([sys.executable, "-c", script]) as parent:
        try:
            end = time.monotonic() + 30
            while len(found := family(parent.pid)) < 2 and time.monotonic() < end:
                time.sleep(0.05)
            assert [process.role for process in found] == ["coordinator", "other"]
            assert all(process.resident > 0 and alive(process.pid) for process in found)
            assert os.getpid() not in {process.pid for process in found}
        finally:
            for process in family(parent.pid):
                os.kill(process.pid, 9)
    assert not alive(parent.pid)
