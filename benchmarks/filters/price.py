"""The price of a no: what the worker-side filters cost, what they catch, and what they wrongly throw away.

Distinct candidates that pass the cheap filters, half of them random graphs, half published layers mutated twice, are
judged as workers judge them. Those that fall are then trained to the quality test all the same: a rejection is false
when the candidate would have passed it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console
from rich.table import Table

from evonas.evolution.executor import Task
from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.records.environment import environment
from evonas.settings.candidate import Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import generator
from evonas.workers.data.dataset import DataSet
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.trial.evaluate import evaluate_task, load_data
from evonas.workers.trial.network_filters import filters_of
from evonas.workers.trial.signal_propagation import measure_signal
from evonas.workers.trial.trial import Trial

CURVE = (5, 10, 15, 20, 30, 40, 60, 80)
"""Steps at which the accuracy on training batches is noted, for choosing stages."""


def run(config: RunConfig, count: int, output: Path, anew: bool) -> None:
    """Judges candidates until `output` holds `count` of them, and prints what that says. Each is written as it comes.

    Exits with 2 where the file holds what was measured under other settings or elsewhere, unless `anew`.
    """
    keep_freed_memory()
    settings = _settings(config)
    records = [] if anew else _earlier(output, settings)
    data = load_data(config.protocol)
    console = Console()
    try:
        judge("published", zoo["bn-relu"], config.protocol, data)  # what a process does once belongs to no candidate
        for kind, graph in islice(candidates(config), len(records), max(count, len(records))):
            records.append(judge(kind, graph, config.protocol, data))
            _, summary = report(records, config.protocol)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps({**summary, **settings, "records": records}, indent=1) + "\n")
            console.print(f"{len(records)} of {count}", end="\r")
    except KeyboardInterrupt:
        sys.exit(f"stopped after {len(records)} candidates; the same command goes on from there")
    console.print(report(records, config.protocol)[0])


def _settings(config: RunConfig) -> dict[str, Any]:
    """What the measurement is of, as JSON gives it back."""
    own = {"space": config.space.name, "twins": config.twins, "seed": config.seed, "protocol": asdict(config.protocol)}
    found: dict[str, Any] = json.loads(json.dumps({**own, "environment": environment()}))
    return found


def _earlier(output: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The records that a file holds, none where there is no file."""
    if not output.exists():
        return []
    document = json.loads(output.read_text())
    for name, value in settings.items():
        if document.get(name) != value:
            print(f"{output} was measured with another {name}; --anew replaces it, -o names another file")
            sys.exit(2)
    records: list[dict[str, Any]] = document["records"]
    return records


def candidates(config: RunConfig) -> Iterator[tuple[str, Graph]]:
    """Distinct graphs that pass the cheap filters: random ones and mutated published layers in turn, without end."""
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


def judge(kind: str, graph: Graph, protocol: EvaluationProtocol, data: DataSet) -> dict[str, Any]:
    """One candidate: what became of it and what that cost, and whether it learns, whatever the filters said."""
    before = _compiling()
    evaluation = evaluate_task(Task(0, 1, graph.to_json(), protocol), data)
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
        "passes": accuracy >= protocol.quality_floor,
    }


def _compiling() -> float:
    """Processor seconds of the processes that this one has started and that ended: the compiler's."""
    times = os.times()
    return times.children_user + times.children_system


def report(records: Sequence[dict[str, Any]], protocol: EvaluationProtocol) -> tuple[Table, dict[str, Any]]:
    """What each filter judged, rejected and wrongly rejected, and what a no and a score cost, for people and JSON."""
    passing = sum(r["passes"] for r in records)
    grid = Table(title=f"{len(records)} distinct candidates, {passing} of which pass the quality test")
    for heading in ("", "judged", "fell", "falsely", "median core-seconds", "mean"):
        grid.add_column(heading, justify="right" if heading else "left")

    def row(name: str, judged: int, some: Sequence[dict[str, Any]], false: str) -> dict[str, float | None]:
        spent = [r["core_seconds"] for r in some]
        cost = {"median_seconds": median(spent), "mean_seconds": fmean(spent)} if spent else {}
        grid.add_row(name, str(judged), str(len(some)), false, *(f"{seconds:.3f}" for seconds in cost.values()))
        return {"median_seconds": None, "mean_seconds": None, **cost}

    left, filters = list(records), {}
    for name in [f.name for f in filters_of(protocol)]:
        rejected = [r for r in left if r["rejected_by"] == name]
        false = sum(r["passes"] for r in rejected)
        counts = {"judged": len(left), "rejected": len(rejected), "false": false}
        filters[name] = {**counts, **row(name, len(left), rejected, str(false))}
        left = [r for r in left if r["rejected_by"] != name]
    rejected = [r for r in records if r["rejected_by"]]
    false = sum(r["passes"] for r in rejected)
    grid.add_section()
    counts = {"rejected": len(rejected), "false": false, "passing": passing}
    total = {**counts, **row("a no", len(records), rejected, f"{false} of {passing}")}
    scored = [r for r in records if not r["rejected_by"]]
    scores = {"scored": len(scored), **row("a score", len(records), scored, "")}
    return grid, {"filters": filters, "all": total, "scored": scores}
