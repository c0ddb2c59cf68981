"""The price of a no: what the worker-side filters cost, what they catch, and what they wrongly throw away.

    python -m benchmarks.filters_price --count 200 -o benchmarks/results/filters_price.json

Draws distinct candidates that pass the cheap filters, half of them random graphs, half published layers
mutated twice, and trains every one of them to the quality test, whatever the earlier filters say. A
rejection is false when the candidate would have passed the quality test.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from evonas.candidate import Reject
from evonas.environment import environment
from evonas.filters import CheapFilters, Passed, Tally
from evonas.graph import Graph
from evonas.layer import LayerFactory
from evonas.protocol import Protocol
from evonas.published import zoo
from evonas.search_spaces import space_named
from evonas.space import generator
from evonas.workers.allocator import keep_freed_memory
from evonas.workers.data import DataSet
from evonas.workers.evaluate import load_data
from evonas.workers.filters import filters_of
from evonas.workers.signal import measure
from evonas.workers.trial import Trial

CURVE = (5, 10, 15, 20, 30, 40, 60, 80)
"""Steps at which the accuracy on training batches is noted, for choosing stages."""


def candidates(count: int, space_name: str, seed: int) -> Iterator[tuple[str, Graph]]:
    """Distinct graphs that pass the cheap filters: random ones and mutated published layers in turn."""
    space, filters = space_named(space_name), CheapFilters()
    published = [g for g in zoo.values() if all(n.op in space.ops for n in g.nodes)]
    rng = generator(seed, 1)
    for number in range(count):
        while True:
            kind = "mutated" if number % 2 else "random"
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
                break


def judge(kind: str, graph: Graph, protocol: Protocol, data: DataSet) -> dict[str, Any]:
    """One candidate, trained to the quality test whatever the filters before it say."""
    record: dict[str, Any] = {"kind": kind, "expression": graph.expression()}
    rejected_by, spent = None, 0.0
    trial = Trial(LayerFactory(graph), protocol, data)
    for filter_ in filters_of(protocol):
        start = process_time()
        verdict = filter_.judge(trial)
        spent += process_time() - start
        if isinstance(verdict, Reject):
            rejected_by, record["reason"] = filter_.name, verdict.reason
            break
    record |= {"rejected_by": rejected_by, "core_seconds": spent}
    unfiltered = Trial(LayerFactory(graph), protocol, data)
    record["signal"] = asdict(measure(unfiltered.first.model, *unfiltered.first.batch(0)))
    record["train_accuracy"] = {}
    for step in (s for s in CURVE if s < protocol.quality_step):
        if unfiltered.first.advance(step):
            record["train_accuracy"][step] = unfiltered.first.train_accuracy()
    learns = unfiltered.first.advance(protocol.quality_step)
    record["accuracy"] = unfiltered.first.accuracy("validation") if learns else 0.0
    record["passes"] = record["accuracy"] >= protocol.quality_floor
    return record


def report(records: list[dict[str, Any]], protocol: Protocol) -> tuple[Table, dict[str, Any]]:
    """What each filter judged, rejected, and wrongly rejected, as a table and for JSON."""
    passing = sum(r["passes"] for r in records)
    grid = Table(title=f"{len(records)} distinct candidates, {passing} of which pass the quality test")
    for heading in ("filter", "judged", "rejected", "falsely", "median core-seconds to reject"):
        grid.add_column(heading, justify="left" if heading == "filter" else "right")
    left, summary = list(records), {}
    for name in [f.name for f in filters_of(protocol)]:
        rejected = [r for r in left if r["rejected_by"] == name]
        false = sum(r["passes"] for r in rejected)
        price = median(r["core_seconds"] for r in rejected) if rejected else None
        grid.add_row(name, str(len(left)), str(len(rejected)), str(false), "" if price is None else f"{price:.3f}")
        summary[name] = {"judged": len(left), "rejected": len(rejected), "false": false, "median_seconds": price}
        left = [r for r in left if r["rejected_by"] != name]
    rejected = [r for r in records if r["rejected_by"]]
    false = sum(r["passes"] for r in rejected)
    price = median(r["core_seconds"] for r in rejected) if rejected else 0.0
    grid.add_section()
    grid.add_row("all", str(len(records)), str(len(rejected)), f"{false} of {passing}", f"{price:.3f}")
    total = {"rejected": len(rejected), "false": false, "passing": passing, "median_seconds": price}
    return grid, {"filters": summary, "all": total}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="candidates to judge")
    parser.add_argument("--space", default="evonorm")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    protocol = Protocol()
    data = load_data(protocol)
    records = []
    console = Console()
    for kind, graph in candidates(arguments.count, arguments.space, arguments.seed):
        records.append(judge(kind, graph, protocol, data))
        console.print(f"{len(records)} of {arguments.count}", end="\r")
    table, summary = report(records, protocol)
    console.print(table)
    if arguments.output:
        document = {**summary, "protocol": asdict(protocol), "environment": environment(), "records": records}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
