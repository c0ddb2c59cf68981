"""The memory that Ray uses in the coordinator for the names of tasks, over a run whose tasks end at once.

    python -m benchmarks.ray_memory                  two runs of 6,000 tasks, side by side, about a minute

Ray counts tasks by name in every process that knows them, and reports the counts to its metrics from time to time. In
one run, each task is named after its candidate; in the other, as `RayExecutor` names it. Results go to
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
"""Interval of Ray's metric reports, which cause the growth; Ray's default is ten seconds."""
SETTLE_SECONDS = 20.0


def main() -> None:
    """Run the benchmark, or one of its runs in a separate process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=6000, help="tasks of each run")
    parser.add_argument("--naming", choices=NAMINGS, help="do only this run, and print its result as JSON")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.naming:
        print(json.dumps(run(arguments.naming, arguments.tasks)))
        return
    found: dict[str, Any] = {naming: _apart(naming, arguments.tasks) for naming in NAMINGS}
    first, second = (found[naming]["kib_a_task"] for naming in NAMINGS)
    print(f"a name for each task: {first:.1f} KiB per task; named as by RayExecutor: {second:.1f} KiB per task")
    document = {"tasks": arguments.tasks, "report_ms": REPORT_MS, **found, "environment": environment()}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def _apart(naming: str, tasks: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.ray_memory", "--naming", naming, "--tasks", str(tasks)]
    own = {**os.environ, "RAY_metrics_report_interval_ms": str(REPORT_MS), "RAY_ADDRESS": "local"}
    done = subprocess.run(command, env=own, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(naming: str, tasks: int) -> dict[str, Any]:
    """Measure the resident MiB of this process every thousand tasks, and after Ray has reported all metrics."""
    from evonas.workers.data.data_sets import load_dataset
    from evonas.workers.executors.ray_executor import RayExecutor

    if naming == "each":
        Task.group = Task.label  # type: ignore[method-assign]  # as in earlier versions
    readings, sent, done = [], 0, 0
    with RayExecutor(load_dataset("digits"), workers=2) as executor:
        while done < tasks:
            while sent - done < 3 and sent < tasks:
                executor.submit(Task(sent, 1, "no graph, which is an error at once", EvaluationProtocol()))
                sent += 1
            for _ in executor.poll(0.5):
                done += 1
                if done == 1 or done % EVERY == 0:
                    readings.append(resident())
        sleep(SETTLE_SECONDS)
        settled = resident()
    return {"resident_mib": readings, "settled_mib": settled, "kib_a_task": 1024 * (settled - readings[0]) / tasks}


if __name__ == "__main__":
    main()
