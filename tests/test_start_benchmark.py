"""The benchmark of commands that only read runs, and reports its measurements."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.start import COMMANDS, fill
from evonas.db import open_store
from evonas.records import results

ROOT = Path(__file__).parent.parent


def test_the_recorded_run_is_like_a_real_one(tmp_path: Path) -> None:
    fill(tmp_path / "evonas.db", 300)
    with open_store(str(tmp_path / "evonas.db"), read_only=True) as store:
        status = results.status(store.run(1), store.summary(1))
        assert status["status"] == "finished" and status["candidates"] == 300
        assert sum(status["evaluations"].values()) == 300
        assert min(status["evaluations"][s] for s in ("scored", "rejected"))
        assert len(results.best(store, 1)) == 10 and results.pareto(store, 1)


@pytest.mark.slow
def test_every_command_is_measured_in_turns(tmp_path: Path) -> None:
    file = tmp_path / "start.json"
    command = [sys.executable, "-m", "benchmarks.start", "--candidates", "20", "--repeats", "1", "-o", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert [row["command"] for row in document["rows"]] == list(COMMANDS)
    for row in document["rows"]:
        assert min(row["seconds"]["here"].values()) > 0 and row["ratios"]["here"] == {"wall": 1.0, "cpu": 1.0}


def test_the_other_checkout_must_be_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.start", "--against", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 2 and "is not a checkout" in done.stderr
