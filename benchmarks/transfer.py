"""Scores of layers on tasks that no search trained on: the table of `evonas transfer` in docs/COMPARE.md.

    python -m benchmarks.transfer

Trains each layer with three seeds on each task, which takes a quarter of an hour on one core. All values, versions and
properties of the machine are written to `results/transfer.json` after each task.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any

import torch

from evonas.records.environment import environment
from evonas.reruns.task_transfer import TASK_REFERENCES, TASKS, transfer

FOUND = "x * sigmoid(sqrt(x)) / rms_bwh(x * sigmoid(sqrt(x)))"
"""The best layer of an early search."""
RESULT = Path(__file__).parent / "results" / "transfer.json"


def measured(task: str, seeds: int, steps: int) -> dict[str, Any]:
    """Return the values of a task by layer and seed, and the CPU seconds that it took."""
    start = process_time()
    rows = transfer([FOUND], task, seeds=range(seeds), steps=steps, references=TASK_REFERENCES)
    return {
        "measure": TASKS[task].measure,
        "larger_is_better": TASKS[task].larger_is_better,
        "steps": steps,
        "core_seconds": round(process_time() - start, 1),
        "layers": [
            {
                "layer": row.layer,
                "mean": row.mean,
                "interval": None if row.interval is None else asdict(row.interval),
                "values": {str(seed): value for seed, value in row.values.items()},
                "diverged": list(row.diverged),
                "versus_bn_relu": None if row.versus is None else asdict(row.versus),
            }
            for row in rows
        ],
    }


def main() -> None:
    """Run the benchmark, and rewrite the file after each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="training steps of every task; by default, each task's own number")
    parser.add_argument(
        "--task",
        action="append",
        choices=list(TASKS),
        help="task to measure, all by default; other results are kept",
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same order of additions on every machine of a kind
    from evonas.workers.transfer.generation import floor

    document: dict[str, Any] = {"environment": environment(), "seeds": given.seeds, "found": FOUND, "tasks": {}}
    if given.output.exists():
        document["tasks"] = json.loads(given.output.read_text())["tasks"]
    for name in given.task or TASKS:
        task = TASKS[name]
        document["tasks"][name] = measured(name, given.seeds, given.steps or task.steps)
        if name == "generation":
            document["tasks"][name]["training_digits"] = floor()
        given.output.write_text(json.dumps(document, indent=1) + "\n")
        for row in document["tasks"][name]["layers"]:
            print(name, row["layer"], row["mean"], list(row["values"].values()), flush=True)


if __name__ == "__main__":
    main()
