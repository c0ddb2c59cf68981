"""The coordinator at scale: a hundred thousand candidates without training, and five thousand simulated workers.

    python -m benchmarks.coordinator                     everything, 100,000 candidates: some minutes
    python -m benchmarks.coordinator --candidates 20000 --only driving

Instead of training, each candidate gets a result at once, with as many database rows as a real evaluation. In the long
run the cheap filters accept everything, because `python -m benchmarks.filters` measures their cost per proposal; a
second, short run uses the real ones. Results go to `benchmarks/results/coordinator.json`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.coordinator import driving, pictures, reading, remembering, utilisation
from evonas.records.environment import environment

RESULTS = Path(__file__).parents[1] / "results"
PARTS = ("driving", "filtered", "remembering", "utilisation")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000, help="candidates of the long run")
    parser.add_argument("--filtered", type=int, default=2000, help="candidates of the run with real cheap filters")
    parser.add_argument("--only", choices=PARTS, action="append", help="parts to run; others keep their results")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "coordinator.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # like the coordinator of a search, whose workers use the other cores
    document: dict[str, Any] = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "driving": lambda folder: long_run(folder / "long.db", arguments.candidates),
        "filtered": lambda folder: filtered_run(folder / "filtered.db", arguments.filtered),
        "remembering": lambda folder: remembering.measure(arguments.candidates),
        "utilisation": lambda folder: utilisation.measure(),
    }
    console = Console()
    for name in arguments.only or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            document[name] = parts[name](Path(folder))
        document["environment"] = environment()
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")
        console.print(pictures.table_of(name, document[name]))
    if "utilisation" in document:
        pictures.draw(document["utilisation"], arguments.output.with_name("coordinator_utilisation.svg"))


def long_run(path: Path, candidates: int) -> dict[str, Any]:
    """Measure a run whose filters accept everything, and then resuming and reading it."""
    config = driving.config_of(candidates)
    meter = driving.drive(path, config)
    return {
        "workers": driving.WORKERS,
        "lookahead": config.lookahead,
        "population": config.population,
        **driving.costs(meter.parts),
        "database_mib": path.stat().st_size / 2**20,
        "resume": reading.resuming(path, driving.WORKERS, filters=True),
        "calls_cpu": reading.calls(path),
        "commands": reading.commands(path),
    }


def filtered_run(path: Path, candidates: int) -> dict[str, Any]:
    """Measure a run with the default preset's space and filters, where proposals are most of the cost."""
    meter = driving.drive(path, driving.config_of(candidates), filters=True)
    return driving.costs(meter.parts)


if __name__ == "__main__":
    main()
