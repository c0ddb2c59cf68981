"""How long commands take that only look, on a run of a hundred thousand candidates.

    python -m benchmarks.start

Wall time of whole commands, the start of Python and all imports included; the median of several, in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.coordinator.driving import config_of, drive
from evonas.environment import environment

COMMANDS = ("--help", "runs", "status", "best", "pareto", "show 0")


def seconds(command: str, storage: Path) -> float:
    """Wall time of a command."""
    words = command.split()
    place = [] if command == "--help" else ["--storage", str(storage)]
    start = perf_counter()
    subprocess.run([sys.executable, "-m", "evonas", *words, *place], check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7, help="of each command, of which the median counts")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/start.json"))
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        storage = Path(folder) / "evonas.db"
        drive(storage, config_of(arguments.candidates))
        taken: dict[str, list[float]] = {command: [] for command in COMMANDS}
        for _ in range(arguments.repeats + 1):  # the first brings files into the system's cache
            for command in COMMANDS:
                taken[command].append(seconds(command, storage))
    found = {command: median(times[1:]) for command, times in taken.items()}
    grid = Table(title=f"seconds of a command on a run of {arguments.candidates:,} candidates")
    for heading in ("command", "seconds"):
        grid.add_column(heading)
    for command, spent in found.items():
        grid.add_row(f"evonas {command}", f"{spent:.2f}")
    Console().print(grid)
    document = {"environment": environment(), "candidates": arguments.candidates, "seconds": found}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
