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
from typing import Any

from rich.console import Console

from evonas import results
from evonas.api import Result, execute
from evonas.assemble import configure, make_executor, open_storage
from evonas.cli.live import Watcher
from evonas.cli.tables import comparison_table
from evonas.comparison import Comparison, compare
from evonas.config import RunConfig
from evonas.environment import environment
from evonas.graph import Graph
from evonas.protocol import Protocol
from evonas.store import RunStatus, Store

REFERENCES = ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0")
SEEDED = ("bn-relu", "gn-relu")
FRESH_SEEDS = range(1000, 1005)
"""Seeds of the final trainings; no search uses them."""

console = Console()


def run_to_end(store: Store, config: RunConfig, workers: int | None) -> Result:
    """The run of a configuration: the recorded one, continued where needed, or a new one."""
    known = recorded(store, config)
    if known is not None and known.run.status is RunStatus.FINISHED:
        return known
    with make_executor("ray", config.protocol, deadline=config.deadline, workers=workers) as executor:
        run = store.create_run(config, environment()) if known is None else known.run
        with Watcher(run, store, console) as watcher:
            result = execute(run, store, executor, [watcher], REFERENCES)
    if result.run.status is not RunStatus.FINISHED:
        raise KeyboardInterrupt
    return result


def recorded(store: Store, config: RunConfig) -> Result | None:
    """The latest run of a configuration that the store has."""
    ids = [run.id for run in store.runs() if run.config == config]
    return Result(store, ids[-1]) if ids else None


def plan(store: Store, budget: int, seeds: Sequence[int], workers: int | None) -> Iterator[tuple[str, Result]]:
    """The runs, one after the other: evolution for every seed, then what it is compared with."""
    evolved = {}
    for seed in seeds:
        evolved[seed] = run_to_end(store, configure("evonorm", settings={"budget": budget, "seed": seed}), workers)
        yield "evolution", evolved[seed]
    for seed in seeds:
        # Random candidates fall earlier, so that many more of them fit into the same compute.
        limit = round(core_minutes(evolved[seed]), 1)
        plain = configure("evonorm", budget=100 * budget, seed=seed, strategy="random", core_minutes=limit)
        yield "random", run_to_end(store, plain, workers)
        seeded = configure("evonorm", budget=budget, seed=seed, seed_graphs=SEEDED)
        yield "evolution from bn-relu and gn-relu", run_to_end(store, seeded, workers)


def so_far(store: Store) -> Iterator[tuple[str, Result]]:
    """The runs of a store as they are, finished or not, whatever planned them."""
    for run in store.runs():
        started = "evolution from bn-relu and gn-relu" if run.config.seed_graphs else "evolution"
        yield "random" if run.config.strategy == "random" else started, Result(store, run.id)


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
    """For JSON; a layer whose trainings all failed has no mean."""
    known: dict[str, Any] = {"layer": comparison.layer, "scores": {a: list(v) for a, v in comparison.scores.items()}}
    if all(comparison.scores.values()):
        known |= {"mean": comparison.mean(), "spread": comparison.spread()}
    return {**known, "failures": list(comparison.failures)}


def document(runs: Sequence[tuple[str, Result]], test: Sequence[Comparison]) -> dict[str, Any]:
    """Everything that was measured, for JSON."""
    return {
        "environment": environment(),
        "protocol": asdict(Protocol()),
        "runs": [account(label, result, 10) for label, result in runs],
        "test": [as_dict(c) for c in test],
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--top", type=int, default=2, help="layers of each run to score on the test split")
    parser.add_argument("--storage", default="discovery.db")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--so-far", action="store_true", help="compare what is recorded, run no more")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/discovery.json"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    store = open_storage(arguments.storage)
    runs: list[tuple[str, Result]] = []
    planned = plan(store, arguments.budget, arguments.seeds, arguments.workers)
    try:
        for pair in so_far(store) if arguments.so_far else planned:
            runs.append(pair)
            arguments.output.write_text(json.dumps(document(runs, ()), indent=1) + "\n")
    except KeyboardInterrupt:
        console.print("stopped; what has finished is compared, and the same command does the rest")
    found: dict[str, Graph] = {}
    for _, result in runs:
        found |= {row.graph.key: row.graph for row in result.best(arguments.top)}
    compared = on_test_split([*REFERENCES, *found.values()], arguments.workers)
    console.print(comparison_table(compared, Protocol().anchors, "test accuracy, five fresh seeds"))
    arguments.output.write_text(json.dumps(document(runs, compared), indent=1) + "\n")


if __name__ == "__main__":
    main()
