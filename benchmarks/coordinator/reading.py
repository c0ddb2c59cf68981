"""The cost of resuming a run of many candidates, and of reading it, by queries and by whole commands."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from benchmarks.coordinator.driving import search_of
from evonas.db import open_store
from evonas.records import results

COMMANDS = ("status", "best", "pareto")
_TIMES = 3
"""Repetitions, of which the fastest counts, because other processes can only add to the time."""


def resuming(path: Path, workers: int, filters: bool) -> dict[str, float]:
    """Measure the seconds from opening a database until the search is ready to draw its next candidate."""
    cpu, wall = process_time(), monotonic()
    with open_store(str(path)) as store:
        search_of(store.run(1), store, workers, None, filters)
        return {"cpu": process_time() - cpu, "wall": monotonic() - wall}


def calls(path: Path) -> dict[str, float]:
    """Measure the CPU seconds of each command's queries, in a process that has loaded everything."""
    with open_store(str(path), read_only=True) as store:
        asked: dict[str, Callable[[], object]] = {
            "status": lambda: results.status(store.run(1), store.summary(1)),
            "best": lambda: results.best(store, 1),
            "pareto": lambda: results.pareto(store, 1),
        }
        found: dict[str, float] = {}
        for name in COMMANDS:
            for _ in range(_TIMES):
                start = process_time()
                asked[name]()
                found[name] = min(found.get(name, float("inf")), process_time() - start)
    return found


def commands(path: Path) -> dict[str, dict[str, float]]:
    """Measure the CPU and wall-clock seconds of whole commands, and of one that only loads (`evonas --help`)."""
    wanted = {name: [name, "--storage", str(path), "-f", "json"] for name in COMMANDS}
    return {name: _command(arguments) for name, arguments in {"--help": ["--help"], **wanted}.items()}


def _command(arguments: list[str]) -> dict[str, float]:
    found: dict[str, Any] = {"cpu": float("inf"), "wall": float("inf")}
    for _ in range(_TIMES):
        before, wall = os.times(), monotonic()
        subprocess.run([sys.executable, "-m", "evonas", *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        found = {"cpu": min(found["cpu"], spent), "wall": min(found["wall"], monotonic() - wall)}
    return found
