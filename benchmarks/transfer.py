"""What layers do on tasks that no search trained on: the README's table of `evonas transfer`.

    python -m benchmarks.transfer

Trains each layer with three seeds on each task, about a quarter of an hour on one core, and writes every value with the
versions and the machine to `results/transfer.json`, task by task.
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
"""The best layer of the first of the README's searches."""
RESULT = Path(__file__).parent / "results" / "transfer.json"


def measured(task: str, seeds: int, steps: int) -> dict[str, Any]:
    """A task's values by layer and seed, and the processor's seconds for all of it."""
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
    """Measures each task and writes the file anew after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="of every task; each task's own by default")
    parser.add_argument(
        "--task", action="append", choices=list(TASKS), help="all by default; others are left as recorded"
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order on every machine of a kind
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
