"""The cost of a rejection: what the filters on workers cost, what they reject, and what they reject wrongly.

Distinct candidates that pass the cheap filters, half of them random graphs and half published layers mutated twice, are
judged as workers judge them. Rejected ones are then trained to the quality test as well: a rejection is false if the
candidate would have passed that test.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from evonas.evolution.executor import Task, published_task
from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.judging.floors import run_floors, stages
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.records.environment import environment
from evonas.settings.candidate import Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import FLOOR_LAYERS, RunConfig
from evonas.settings.search_space import generator
from evonas.workers.data.dataset import DataSet
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.trial.evaluate import evaluate_task, load_data
from evonas.workers.trial.network_filters import filters_of
from evonas.workers.trial.signal_propagation import measure_signal
from evonas.workers.trial.trial import Trial

CURVE = (5, 10, 15, 20, 30, 40, 60, 80)
"""Steps at which the accuracy on training batches is recorded, as a basis for choosing stages."""


def run(config: RunConfig, count: int, output: Path, anew: bool) -> None:
    """Judge candidates until `output` holds `count` of them, and print the summary. Each one is written at once.

    Exits with code 2 if the file was measured with other settings or on another machine, unless `anew` is true.
    """
    keep_freed_memory()
    settings = _settings(config)
    records = [] if anew else _earlier(output, settings)
    data = load_data(config.protocol)
    console = Console()
    try:
        # The first judgement in a process includes work that must not count for a candidate.
        floors = floors_on(config.protocol, data)
        judge("published", zoo["bn-relu"], config.protocol, data, floors)
        for kind, graph in islice(candidates(config), len(records), max(count, len(records))):
            records.append(judge(kind, graph, config.protocol, data, floors))
            _, summary = report(records, config.protocol)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps({**summary, **settings, "records": records}, indent=1) + "\n")
            console.print(f"{len(records)} of {count}", end="\r")
    except KeyboardInterrupt:
        sys.exit(f"stopped after {len(records)} candidates; the same command goes on from there")
    console.print(report(records, config.protocol)[0])


def _settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings of the measurement, as JSON represents them."""
    own = {"space": config.space.name, "twins": config.twins, "seed": config.seed, "protocol": asdict(config.protocol)}
    found: dict[str, Any] = json.loads(json.dumps({**own, "environment": environment()}))
    return found


def _earlier(output: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an earlier run in the file, if there is one."""
    if not output.exists():
        return []
    document = json.loads(output.read_text())
    for name, value in settings.items():
        if document.get(name) != value:
            print(f"{output} was measured with another {name}: use --anew to replace it, or -o to name another file")
            sys.exit(2)
    records: list[dict[str, Any]] = document["records"]
    return records


def candidates(config: RunConfig) -> Iterator[tuple[str, Graph]]:
    """Yield endless distinct graphs that pass the cheap filters: random ones and mutated published layers in turn."""
    space, filters = config.space, CheapFilters(config.twins)
    published = [g for g in zoo.values() if all(n.op in space.ops for n in g.nodes)]
    rng, kind = generator(config.seed, 1), "random"
    while True:
        if kind == "random":
            graph = space.random_graph(rng)
        else:
            graph = space.embed(published[int(rng.integers(len(published)))], rng)
            for _ in range(2):
                graph, _ = space.mutate(graph, rng)
        verdict = filters.judge(graph, Tally())
        if isinstance(verdict, Passed):
            filters.remember(graph, verdict.key, verdict.functional_key)
            yield kind, graph.canonical
            kind = "mutated" if kind == "random" else "random"


def floors_on(protocol: EvaluationProtocol, data: DataSet) -> Mapping[str, float]:
    """Return the floors of the filters by name, as a search with this protocol would set them."""
    if protocol.floors == "absolute":
        return {stage.name: stage.given for stage in stages(protocol)}
    tasks = [replace(published_task(name, -1, 1, protocol), measures="filters") for name in FLOOR_LAYERS]
    measured = [evaluate_task(task, data).checkpoints for task in tasks]
    found = run_floors(protocol, dict(zip(FLOOR_LAYERS, measured, strict=True)))
    assert found is not None  # every layer has been measured
    return found


def judge(
    kind: str, graph: Graph, protocol: EvaluationProtocol, data: DataSet, floors: Mapping[str, float]
) -> dict[str, Any]:
    """Judge one candidate: its verdict and cost, and whether it learns, whatever the filters decide."""
    before = _compiling()
    evaluation = evaluate_task(Task(0, 1, graph.to_json(), protocol, floors=floors), data)
    compiling = _compiling() - before
    fallen = [outcome for outcome in evaluation.filters if not outcome.accepted]
    trial = Trial(LayerFactory(graph), protocol, data)
    accuracies = {}
    signal = asdict(measure_signal(trial.first.model, *trial.first.batch(0)))
    for step in (s for s in CURVE if s < protocol.quality_step):
        if trial.first.advance(step):
            accuracies[step] = trial.first.train_accuracy()
    learns = trial.first.advance(protocol.quality_step)
    accuracy = trial.first.accuracy("validation") if learns else 0.0
    return {
        "kind": kind,
        "expression": graph.written(),
        "rejected_by": fallen[0].name if evaluation.status is Status.REJECTED else None,
        "reason": fallen[0].reason if evaluation.status is Status.REJECTED else "",
        "core_seconds": evaluation.core_seconds + compiling,
        "compiling": compiling,
        "signal": signal,
        "train_accuracy": accuracies,
        "accuracy": accuracy,
        "passes": accuracy >= floors["quality"],
    }


def _compiling() -> float:
    """Return the CPU seconds of finished child processes, which are those of the compiler."""
    times = os.times()
    return times.children_user + times.children_system


def report(records: Sequence[dict[str, Any]], protocol: EvaluationProtocol) -> tuple[Table, dict[str, Any]]:
    """Summarise the rejections of each filter, and the cost of rejections and scores, as a table and for JSON."""
    passing = sum(r["passes"] for r in records)
    grid = Table(title=f"{len(records)} distinct candidates; {passing} of them pass the quality test")
    for heading in ("", "judged", "rejected", "falsely", "median core-seconds", "mean"):
        grid.add_column(heading, justify="right" if heading else "left")

    def row(name: str, judged: int, some: Sequence[dict[str, Any]], false: str) -> dict[str, float | None]:
        spent = [r["core_seconds"] for r in some]
        cost = {"median_seconds": median(spent), "mean_seconds": fmean(spent)} if spent else {}
        grid.add_row(name, str(judged), str(len(some)), false, *(f"{seconds:.3f}" for seconds in cost.values()))
        return {"median_seconds": None, "mean_seconds": None, **cost}

    left, filters = list(records), {}
    for name in [f.name for f in filters_of(replace(protocol, floors="absolute"))]:  # the names are the same
        rejected = [r for r in left if r["rejected_by"] == name]
        false = sum(r["passes"] for r in rejected)
        counts = {"judged": len(left), "rejected": len(rejected), "false": false}
        filters[name] = {**counts, **row(name, len(left), rejected, str(false))}
        left = [r for r in left if r["rejected_by"] != name]
    rejected = [r for r in records if r["rejected_by"]]
    false = sum(r["passes"] for r in rejected)
    grid.add_section()
    counts = {"rejected": len(rejected), "false": false, "passing": passing}
    total = {**counts, **row("all rejections", len(records), rejected, f"{false} of {passing}")}
    scored = [r for r in records if not r["rejected_by"]]
    scores = {"scored": len(scored), **row("scored", len(records), scored, "")}
    return grid, {"filters": filters, "all": total, "scored": scores}
