"""What Ray keeps in the coordinator for the names of tasks: its memory over a run whose tasks end at once.

    python -m benchmarks.ray_memory                  two runs of 6,000 tasks, side by side, about a minute

Ray counts tasks by their names, in every process that knows of them, and tells the counts to its metrics now and again.
One run names each task for its candidate, the other as `RayExecutor` does. Results go to
`benchmarks/results/ray_memory.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any

from benchmarks.coordinator.driving import resident
from evonas.evolution.executor import Task
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol

RESULTS = Path(__file__).parent / "results" / "ray_memory.json"
NAMINGS = ("each", "group")
EVERY = 1000
REPORT_MS = 1000
"""Ray tells its metrics so often here, and every ten seconds by default: the growth comes with the telling."""
SETTLE_SECONDS = 20.0


def main() -> None:
    """Runs the benchmark, or one of its runs in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=6000, help="of each run")
    parser.add_argument("--naming", choices=NAMINGS, help="this run alone, printed as JSON")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.naming:
        print(json.dumps(run(arguments.naming, arguments.tasks)))
        return
    found: dict[str, Any] = {naming: _apart(naming, arguments.tasks) for naming in NAMINGS}
    first, second = (found[naming]["kib_a_task"] for naming in NAMINGS)
    print(f"a name for each task: {first:.1f} KiB a task; as RayExecutor names them: {second:.1f}")
    document = {"tasks": arguments.tasks, "report_ms": REPORT_MS, **found, "environment": environment()}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def _apart(naming: str, tasks: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ray_memory", "--naming", naming, "--tasks", str(tasks)]
    own = {**os.environ, "RAY_metrics_report_interval_ms": str(REPORT_MS), "RAY_ADDRESS": "local"}
    done = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(naming: str, tasks: int) -> dict[str, Any]:
    """Resident MiB of this process after every thousand tasks, and once Ray has told all of its metrics."""
    from evonas.workers.data.data_sets import load_dataset
    from evonas.workers.executors.ray_executor import RayExecutor

    if naming == "each":
        Task.group = Task.label  # type: ignore[method-assign]  # as it was before
    taken, sent, done = [], 0, 0
    with RayExecutor(load_dataset("digits"), workers=2) as executor:
        while done < tasks:
            while sent - done < 3 and sent < tasks:
                executor.submit(Task(sent, 1, "no graph, which is an error at once", EvaluationProtocol()))
                sent += 1
            for _ in executor.poll(0.5):
                done += 1
                if done == 1 or done % EVERY == 0:
                    taken.append(resident())
        sleep(SETTLE_SECONDS)
        settled = resident()
    return {"resident_mib": taken, "settled_mib": settled, "kib_a_task": 1024 * (settled - taken[0]) / tasks}


if __name__ == "__main__":
    main()
