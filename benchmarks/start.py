"""The time of commands that only read, on a run of a hundred thousand candidates.

    python -m benchmarks.start
    python -m benchmarks.start --against ../before      compares with another checkout, in turns

Measures whole commands, including the start of Python and all imports: wall-clock time, which other load on the machine
lengthens, and CPU time, which it hardly affects. Each is the median of several turns. The run is finished, half of its
candidates are scored, and all have as many rows in the database as real ones.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.coordinator.driving import config_of
from benchmarks.coordinator.stand_ins import answer
from evonas.db import open_store
from evonas.evolution.executor import Task
from evonas.judging.cheap_filters import CHEAP_FILTERS
from evonas.records.environment import environment, state_of_code
from evonas.records.run_info import RunStatus
from evonas.settings.candidate import Candidate, Origin, OriginKind
from evonas.settings.search_space import generator

COMMANDS = ("--help", "runs", "status", "best", "pareto", "show 0")
ROOT = Path(__file__).resolve().parents[1]
_GRAPHS = 500
"""Number of different graphs, which are reused in turn, because simplifying a new one per candidate takes long."""
_CHUNK = 10_000
"""Candidates recorded per transaction."""


def fill(storage: Path, candidates: int) -> None:
    """Record a finished run of so many candidates, half of them scored, in a new database."""
    config = config_of(candidates)
    graphs = [config.space.random_graph(generator(config.seed, i)) for i in range(_GRAPHS)]
    discarded, seconds = dict.fromkeys(CHEAP_FILTERS, 1), dict.fromkeys(("sampling", *CHEAP_FILTERS), 1e-3)
    with open_store(str(storage)) as store:
        run = store.create_run(config, {})
        for start in range(0, candidates, _CHUNK):
            indices = range(start, min(start + _CHUNK, candidates))
            origins = [
                Origin(OriginKind.MUTATION, i - 1, ("node 5: mul to add",)) if i else Origin(OriginKind.RANDOM)
                for i in indices
            ]
            drawn = [
                Candidate(i, graphs[i % _GRAPHS], f"{i:016x}", f"{i:016x}", origin, discarded, seconds)
                for i, origin in zip(indices, origins, strict=True)
            ]
            judged = [answer(Task(i, 1, "", config.protocol)) for i in indices]
            store.record(run.id, candidates=drawn, evaluations=judged)
        store.record(run.id, status=RunStatus.FINISHED, elapsed=3600.0)


def command_seconds(checkout: Path, command: str, storage: Path) -> dict[str, float]:
    """Measure the wall-clock and CPU seconds of one command of a checkout, in a new process."""
    place = [] if command == "--help" else ["--storage", str(storage)]
    # As when installed, Python caches compiled files, which development environments often disable.
    surroundings = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    line = [sys.executable, "-m", "evonas", *command.split(), *place]
    before, start = os.times(), perf_counter()
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, cwd=checkout, env=surroundings)
    wall, after = perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": wall, "cpu": cpu}


def measure(checkouts: Mapping[str, Path], candidates: int, repeats: int) -> list[dict[str, Any]]:
    """Return a row for each command: the median seconds of each checkout, by name, and ratios to the first."""
    with TemporaryDirectory() as folder:
        storage = Path(folder) / "evonas.db"
        fill(storage, candidates)
        turns: dict[tuple[str, str], list[dict[str, float]]] = {}
        for _ in range(repeats + 1):  # the first turn fills the caches of Python and the system
            for command in COMMANDS:
                for name, checkout in checkouts.items():
                    turns.setdefault((command, name), []).append(command_seconds(checkout, command, storage))
    rows = []
    for command in COMMANDS:
        found = {
            name: {kind: median(turn[kind] for turn in turns[command, name][1:]) for kind in ("wall", "cpu")}
            for name in checkouts
        }
        here = next(iter(found.values()))
        ratios = {name: {kind: times[kind] / here[kind] for kind in times} for name, times in found.items()}
        rows.append({"command": command, "seconds": found, "ratios": ratios})
    return rows


def main() -> None:
    """Run the benchmark: measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7, help="turns of each command; the median counts")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout of evonas to compare with")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/start.json"))
    arguments = parser.parse_args()
    checkouts = {"here": ROOT}
    if arguments.against is not None:
        if not (arguments.against / "evonas" / "__main__.py").exists():
            parser.error(f"{arguments.against} is not a checkout of evonas: it has no evonas/__main__.py")
        checkouts[f"against {arguments.against.resolve().name}"] = arguments.against.resolve()
    code = state_of_code()
    rows = measure(checkouts, arguments.candidates, arguments.repeats)
    grid = Table(title=f"seconds of a command on a run of {arguments.candidates:,} candidates: wall-clock (CPU)")
    grid.add_column("command")
    for name in checkouts:
        grid.add_column(name, justify="right")
    for row in rows:
        cells = [f"{times['wall']:.2f} ({times['cpu']:.2f})" for times in row["seconds"].values()]
        grid.add_row(f"evonas {row['command']}", *cells)
    Console().print(grid)
    document = {
        "environment": {**environment(), "code": code},
        "load": os.getloadavg()[0],  # of the last minute; above the number of cores, wall-clock times are too long
        "candidates": arguments.candidates,
        "repeats": arguments.repeats,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
