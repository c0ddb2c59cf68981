"""A search whose process is killed again and again ends like one that was not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evonas.db.connect import open_store
from evonas.records.run_info import RunStatus
from tests.fakes import FakeExecutor, config, table
from tests.test_evolution import searched

_SESSIONS = """
import json, os, random, signal, sys, time
import numpy as np
from evonas.db.connect import open_store
from evonas.evolution.loop import Search
from evonas.judging.selection import pareto_front
from tests.fakes import FakeExecutor

pareto_front(np.zeros((1, 1)))  # imports pymoo here, once, and not in every session
path, rng, recorded = sys.argv[1], random.Random(11), []

class Slow(FakeExecutor):
    def poll(self, timeout):
        os.write(begun, b".")
        time.sleep(0.005)  # so that a kill falls somewhere within the run
        return super().poll(timeout)

for session in range(7):
    polled, begun = os.pipe()
    child = os.fork()  # of a process without threads or an open connection
    if child == 0:
        with open_store(path) as store:
            Search(store.runs()[0], store, Slow(1 + session % 4, session), (), ["bn-relu"]).execute()
        os._exit(0)
    os.close(begun)
    os.read(polled, 1)  # the search is at work, or its process has ended
    if session < 6:
        time.sleep(rng.uniform(0.0, 0.25))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    os.close(polled)
    with open_store(path, read_only=True) as store:
        counts = len(list(store.candidates(1))), len(list(store.evaluations(1)))
    recorded.append((os.waitstatus_to_exitcode(status), *counts))
print(json.dumps(recorded))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_killed_at_random_and_resumed_until_done(tmp_path: Path) -> None:
    """Sessions of one run in separate processes, all but the last ended by SIGKILL."""
    settings = config(budget=100)
    path = str(tmp_path / "runs.db")
    with open_store(path) as store:
        store.create_run(settings, {})
    command = [sys.executable, "-c", _SESSIONS, path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    sessions = json.loads(done.stdout)
    codes, candidates, evaluations = zip(*sessions, strict=True)
    assert codes[-1] == 0
    # The kills happened during the run, some with candidates that were drawn and not evaluated.
    within = [drawn - judged for code, drawn, judged in sessions if code == -9 and 0 < drawn < 100]
    assert len(within) >= 3 and any(within), sessions
    # Nothing that was recorded is ever lost.
    assert list(candidates) == sorted(candidates) and list(evaluations) == sorted(evaluations)
    with open_store(path, read_only=True) as store:
        (run,) = store.runs()
        assert run.status is RunStatus.FINISHED and run.elapsed > 0
        assert table(store, run) == table(*searched(settings, FakeExecutor(1)))
        assert list(run.references) == ["bn-relu"]
