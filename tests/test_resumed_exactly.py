"""Candidate tables are equal byte for byte, whichever executor computed them and whatever was killed in between."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak.processes import family
from evonas.db import open_store
from evonas.evolution.loop import Search
from evonas.records.run_info import RunStatus
from evonas.settings.run_config import RunConfig
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.executors.local_executor import LocalExecutor
from tests.test_executors import PATIENCE
from tests.test_faults import SETTINGS

COMPARED = {
    "candidates": "*",
    "mutations": "*",
    "evaluations": "number, status, mean",
    "scores": "*",
    "filter_outcomes": "number, position, filter, accepted, reason, value",
}
LONGER = replace(SETTINGS, budget=96)
"""So many candidates that a search which is killed twenty times is not done before the last."""
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc")


def tables(path: Path) -> bytes:
    """The record of a run without times and attempts."""
    with closing(sqlite3.connect(path)) as connection:
        rows = {
            name: connection.execute(f"SELECT {columns} FROM {name} ORDER BY run_id, number").fetchall()
            for name, columns in COMPARED.items()
        }
    return json.dumps(rows, default=bytes.hex).encode()


def _undisturbed(path: Path, settings: RunConfig) -> bytes:
    with open_store(str(path)) as store, LocalExecutor(load_dataset("digits")) as executor:
        Search(store.create_run(settings, {}), store, executor).execute()
    return tables(path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _undisturbed(tmp_path_factory.mktemp("undisturbed") / "runs.db", SETTINGS)


@pytest.fixture(scope="module")
def undisturbed_longer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _undisturbed(tmp_path_factory.mktemp("longer") / "runs.db", LONGER)


_SESSION = """
import sys
from evonas.front.api import execute
from evonas.db import open_store
from evonas.setup.make_executor import make_executor
path, kind, workers = sys.argv[1:]
with open_store(path) as store:
    run = store.run(1)
    with make_executor(kind, run.config.protocol, workers=int(workers) if kind == "ray" else None) as executor:
        print("at work", flush=True)
        execute(run, store, executor, (), ())
"""


def _evaluated(path: Path) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return int(connection.execute("SELECT count(*) FROM evaluations").fetchone()[0])


def _sessions(
    path: Path, settings: RunConfig, kind: str, workers: int, kills: int, after: range, longest: float
) -> list[int]:
    """Coordinators in separate processes, all but the last ended by SIGKILL; with Ray, a worker is killed first.

    Args:
        path: the database.
        settings: the configuration of the run.
        kind: the kind of executor.
        workers: the number of Ray workers.
        kills: how many coordinators are killed.
        after: the numbers of candidates from which is drawn how many each of them evaluates first.
        longest: the most seconds that it then lives, so that it may die in any activity.

    Returns:
        How many candidates had been evaluated at each kill.
    """
    rng = random.Random(17)
    own = {**os.environ, "RAY_ADDRESS": "local"}  # a Ray of its own, whatever else runs on this machine
    with open_store(str(path)) as store:
        store.create_run(settings, {})
    at_kills: list[int] = []
    for session in range(kills + 1):
        command = [sys.executable, "-c", _SESSION, str(path), kind, str(workers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=own) as child:
            assert child.stdout is not None and child.stdout.readline()
            if session < kills:
                _wait_for_more(path, rng.choice(after), child)
                time.sleep(rng.uniform(0.0, longest))
                busy = [process for process in family(child.pid) if process.role == "worker"]
                for process in busy[:1]:
                    os.kill(process.pid, signal.SIGKILL)
                    time.sleep(rng.uniform(0.0, longest))
                child.kill()
                at_kills.append(_evaluated(path))
        # A search that ended before it was to be killed would test nothing.
        assert child.returncode == (0 if session == kills else -signal.SIGKILL), (session, at_kills)
    with open_store(str(path)) as store:
        assert store.run(1).status is RunStatus.FINISHED
    return at_kills


def _wait_for_more(path: Path, count: int, child: subprocess.Popen[bytes]) -> None:
    wanted, end = _evaluated(path) + count, time.monotonic() + PATIENCE
    while _evaluated(path) < wanted:
        assert time.monotonic() < end and child.poll() is None
        time.sleep(0.01)


def test_a_coordinator_that_is_killed_twice(tmp_path: Path, undisturbed: bytes) -> None:
    at_kills = _sessions(tmp_path / "runs.db", SETTINGS, "local", 1, 2, range(1, 3), 0.1)
    assert 0 < at_kills[0] < at_kills[1] < SETTINGS.budget
    assert tables(tmp_path / "runs.db") == undisturbed


@pytest.mark.slow
def test_a_coordinator_that_is_killed_twenty_times(tmp_path: Path, undisturbed_longer: bytes) -> None:
    at_kills = _sessions(tmp_path / "runs.db", LONGER, "local", 1, 20, range(4), 0.3)
    assert len(set(at_kills)) > 10 and at_kills[-1] < LONGER.budget, at_kills  # they are spread over the search
    assert tables(tmp_path / "runs.db") == undisturbed_longer


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_workers_with_kills_in_between(tmp_path: Path, undisturbed_longer: bytes, workers: int) -> None:
    at_kills = _sessions(tmp_path / "runs.db", LONGER, "ray", workers, 2, range(1, 20), 0.5)
    assert 0 < at_kills[0] < at_kills[1] < LONGER.budget
    assert tables(tmp_path / "runs.db") == undisturbed_longer
