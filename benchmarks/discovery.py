"""What a search finds: evolution against random search at equal compute, from random graphs and from seeds.

    python -m benchmarks.discovery --budget 1000 --seeds 0 1 2 --storage discovery.db \
        -o benchmarks/results/discovery.json

For each seed: evolution from random graphs, random search for as many core-seconds, and evolution started
from bn-relu and gn-relu. Then the best layers of every run are trained with fresh seeds and scored on the test
split, beside published layers. Interrupted, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console

from evonas import results
from evonas.api import Result
from evonas.assemble import configure, make_executor, open_storage
from evonas.cli.live import Watcher
from evonas.cli.tables import comparison_table
from evonas.comparison import Comparison, compare
from evonas.config import Protocol, RunConfig
from evonas.environment import environment
from evonas.evolution import Search
from evonas.graph import Graph
from evonas.store import RunStatus, Store

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
SEEDED = ("bn-relu", "gn-relu")
FRESH_SEEDS = range(1000, 1005)
"""Seeds of the final trainings; no search uses them."""

console = Console()


def execute(store: Store, config: RunConfig, workers: int | None) -> Result:
    """The run of a configuration: the recorded one, continued where needed, or a new one."""
    known = [run for run in store.runs() if run.config == config]
    run = known[-1] if known else store.create_run(config, environment())
    if run.status is not RunStatus.FINISHED:
        with make_executor("ray", config, workers, None) as executor, Watcher(run, store, console) as watcher:
            Search(run, store, executor, [watcher], REFERENCES).execute()
    result = Result(store, run.id)
    if result.run.status is not RunStatus.FINISHED:
        raise KeyboardInterrupt
    return result


def plan(store: Store, budget: int, seeds: Sequence[int], workers: int | None) -> Iterator[tuple[str, Result]]:
    """The runs, one after the other: whatever stops early leaves the first seed complete."""
    evolved = {}
    for seed in seeds:
        evolved[seed] = execute(store, configure("evonorm", budget=budget, seed=seed), workers)
        yield "evolution", evolved[seed]
    for seed in seeds:
        # Random candidates fall earlier, so that many more of them fit into the same compute.
        limit = round(core_minutes(evolved[seed]), 1)
        plain = configure("evonorm", budget=100 * budget, seed=seed, strategy="random", core_minutes=limit)
        yield "random", execute(store, plain, workers)
        seeded = configure("evonorm", budget=budget, seed=seed, seed_graphs=SEEDED)
        yield "evolution from bn-relu and gn-relu", execute(store, seeded, workers)


def core_minutes(result: Result) -> float:
    """What workers spent on a run."""
    summary = result.summary
    filters = sum(f.seconds for f in summary.filters.values())
    return (filters + sum(summary.training.values())) / 60


def account(label: str, result: Result, top: int) -> dict[str, Any]:
    """A run in numbers."""
    summary = result.summary
    return {
        "label": label,
        **results.status(result.run, summary),
        "core_minutes": core_minutes(result),
        "core_seconds_per_candidate": 60 * core_minutes(result) / max(1, summary.evaluations),
        "wall_seconds_per_candidate": result.run.elapsed / max(1, summary.evaluations),
        "best": [row.as_dict() for row in result.best(top)],
        "progress": progress(result),
    }


def progress(result: Result) -> list[tuple[float, float]]:
    """(core-minutes spent, best mean so far) at each improvement, in order of index."""
    spent, best, points = 0.0, 0.0, []
    for evaluation in result.store.evaluations(result.run_id):
        spent += evaluation.core_seconds / 60
        if evaluation.mean > best:
            best = evaluation.mean
            points.append((spent, best))
    return points


def on_test_split(layers: Sequence[Graph | str], workers: int | None) -> list[Comparison]:
    """Layers trained with fresh seeds and scored on images that no search has seen."""
    return compare(layers, protocol=Protocol(), seeds=FRESH_SEEDS, split="test", workers=workers)


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """For JSON."""
    return {
        "layer": comparison.layer,
        "mean": comparison.mean(),
        "spread": comparison.spread(),
        "anchors": {a: {"mean": fmean(v), "spread": stdev(v), "scores": list(v)} for a, v in comparison.scores.items()},
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--top", type=int, default=2, help="layers of each run to score on the test split")
    parser.add_argument("--storage", default="discovery.db")
    parser.add_argument("--workers", type=int)
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/discovery.json"))
    arguments = parser.parse_args()
    store = open_storage(arguments.storage)
    runs: list[tuple[str, Result]] = []
    try:
        for label, result in plan(store, arguments.budget, arguments.seeds, arguments.workers):
            runs.append((label, result))
    except KeyboardInterrupt:
        console.print("stopped; what has finished is compared, and the same command does the rest")
    found: dict[str, Graph] = {}
    for _, result in runs:
        found |= {row.graph.key: row.graph for row in result.best(arguments.top)}
    compared = on_test_split([*REFERENCES, *found.values()], arguments.workers)
    console.print(comparison_table(compared, Protocol().anchors, "test accuracy, five fresh seeds"))
    document = {
        "environment": environment(),
        "protocol": asdict(Protocol()),
        "runs": [account(label, result, 10) for label, result in runs],
        "test": [as_dict(c) for c in compared],
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
