"""A census: candidates that are trained to the end on every anchor, whatever the filters decide.

A search only sees the candidates that pass its filters. The census draws random candidates as a search does, and
mutants from recorded searches. For each it records the verdict of every filter, the training curve and final accuracy
on every anchor, and, if it learns, the accuracy with a second seed. This gives the distribution of random layers, the
noise of a score, the agreement of anchors, and the savings and cost of each filter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.science.runs import BEFORE
from evonas.evolution.propose import Proposer
from evonas.judging.selection import Population
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.records.store import Store
from evonas.settings.candidate import Candidate, OriginKind, Reject
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import configure
from evonas.workers.trial.evaluate import load_data
from evonas.workers.trial.network_filters import SignalFilter
from evonas.workers.trial.trial import Trial

CURVE = (10, 20, 30, 40, 50, 60, 70, 80, 90)
"""Steps at which the accuracy on training batches is recorded."""
ASCENT = (5, 10, 20, 50, 100)
"""Stages of the stability filter."""
LEARNS = 0.2
"""Accuracy on some anchor above which a layer is also trained with a second seed."""
SEED = 10_000
"""Seed of the random candidates, which no search of the benchmark uses."""
SECOND = 1
"""Second seed of weights and batches."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """One candidate of the census. It is trained if `whole` is true; otherwise only its stability is measured."""

    number: int
    kind: str
    graph: str
    whole: bool


def random_candidates(count: int) -> Iterator[Candidate]:
    """Yield distinct random graphs that pass the cheap filters, as a random search draws them."""
    proposer = Proposer(configure("evonorm", preset=str(BEFORE), settings={"strategy": "random", "seed": SEED}))
    for index in range(count):
        yield proposer.draw(index, Population(1))


def evolved_candidates(store: Store, run_ids: Sequence[int], count: int) -> list[Candidate]:
    """Return mutants of some runs that have an evaluation, evenly spaced, with each function once."""
    found: dict[str, Candidate] = {}
    for run_id in run_ids:
        evaluated = {evaluation.index for evaluation in store.evaluations(run_id)}
        for candidate in store.candidates(run_id):
            if candidate.origin.kind is OriginKind.MUTATION and candidate.index in evaluated:
                found.setdefault(candidate.functional_key, candidate)
    every = list(found.values())
    chosen = (every[i * len(every) // count] for i in range(count)) if len(every) > count else every
    return list(chosen)


def subjects(store: Store, run_ids: Sequence[int], random: int, evolved: int) -> list[Subject]:
    """Return the candidates of the census."""
    every = [("random", c, True) for c in random_candidates(random)]
    every += [("evolved", c, False) for c in evolved_candidates(store, run_ids, evolved)]
    return [Subject(n, kind, c.graph.canonical.to_json(), whole) for n, (kind, c, whole) in enumerate(every)]


def examine(subject: Subject, protocol: EvaluationProtocol) -> Record:
    """Measure one candidate. Times are core-seconds of this process."""
    data = load_data(protocol)
    layer = LayerFactory(Graph.from_json(subject.graph))
    trial = Trial(layer, protocol, data)
    record: Record = {"number": subject.number, "kind": subject.kind, "expression": layer.graph.written()}
    start = process_time()
    verdict = SignalFilter().judge(trial)
    record["signal"] = {
        "reason": verdict.reason if isinstance(verdict, Reject) else None,
        "seconds": process_time() - start,
    }
    record["stability"] = _stability(trial)
    if not subject.whole:
        return record
    record["anchors"] = {anchor: _trained(trial, anchor) for anchor in protocol.anchors}
    if max(trained["accuracy"] for trained in record["anchors"].values()) >= LEARNS:
        again = Trial(layer, replace(protocol, seed=SECOND), data)
        record["again"] = {anchor: _accuracy(again, anchor) for anchor in protocol.anchors}
    return record


def _stability(trial: Trial) -> Record:
    """Return the step at which the norm exceeded its limit, None if it never did, and the seconds to each stage."""
    seconds, start = {}, process_time()
    for stage in ASCENT:
        trial.ascent.advance(stage)
        seconds[stage] = process_time() - start
    norm = trial.ascent.norms[-1]
    exploded = None if trial.ascent.stable else trial.ascent.step
    return {"exploded": exploded, "norm": norm if math.isfinite(norm) else None, "seconds": seconds}


def _trained(trial: Trial, anchor: str) -> Record:
    start, curve = process_time(), {}
    training = trial.training(anchor)
    for step in (s for s in CURVE if s < trial.protocol.steps):
        curve[step] = training.train_accuracy() if training.advance(step) else 0.0
    accuracy = training.accuracy("validation") if training.advance(trial.protocol.steps) else 0.0
    return {"accuracy": accuracy, "curve": curve, "seconds": process_time() - start}


def _accuracy(trial: Trial, anchor: str) -> float:
    training = trial.training(anchor)
    return training.accuracy("validation") if training.advance(trial.protocol.steps) else 0.0


def published(protocol: EvaluationProtocol) -> Record:
    """Return the largest gradient norm of the whole ascent for each published layer."""
    data, norms = load_data(protocol), {}
    for name in zoo:
        ascent = Trial(LayerFactory.published(name), protocol, data).ascent
        ascent.advance(ASCENT[-1])
        norms[name] = max(ascent.norms)
    return {"steps": ASCENT[-1], "norms": norms}


def read(path: Path) -> dict[int, Record]:
    """Read the records of a census so far, by number. An incomplete line is skipped."""
    records = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        records[record["number"]] = record
    return records
