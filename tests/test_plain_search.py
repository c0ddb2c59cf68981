"""Recorded runs compared with the plain search: the same candidates, parents, mutations and hurdles."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import replace

import pytest

from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, FilterOutcome, OriginKind, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from tests.fakes import ANCHORS, FakeExecutor, config, outcome
from tests.plain_search import PlainSearch
from tests.test_evolution_faults import Interrupter

CHECKPOINTS = (f"hurdle {ANCHORS[0]} end", f"hurdle {ANCHORS[1]} 50")
PROTOCOL = EvaluationProtocol(anchors=ANCHORS, hurdle_steps=(50,), hurdle_quantile=0.4)


def judged(task: Task) -> Evaluation:
    """The fake outcome with distinct scores, and with a value at each checkpoint, rarely NaN."""
    evaluation = outcome(task)
    if evaluation.status is not Status.SCORED:
        return evaluation
    graph = Graph.from_json(task.graph)
    digest = hashlib.blake2b(graph.key.encode(), person=b"search").digest()
    first, second, early = (int.from_bytes(digest[i : i + 8], "big") / 2**64 for i in (0, 8, 16))
    filters = tuple(replace(each, value=early) for each in evaluation.filters)  # the quality test alone
    for name, value in zip(CHECKPOINTS, (first, math.nan if digest[24] < 16 else early), strict=True):
        accepted = not value < task.floors.get(name, 0.0)
        filters = (*filters, FilterOutcome(name, accepted, "" if accepted else "behind", value, 0.25))
        if not accepted:
            return replace(evaluation, status=Status.REJECTED, scores={}, filters=filters)
    scores, measures = dict(zip(ANCHORS, (first, second), strict=True)), {"size": float(len(graph.nodes))}
    return replace(evaluation, scores=scores, filters=filters, measures=measures)


def coarsely(task: Task) -> Evaluation:
    """The same with scores rounded to quarters, so that many are equal."""
    evaluation = judged(task)
    return replace(evaluation, scores={name: round(4 * score) / 4 for name, score in evaluation.scores.items()})


def hold(store: Store, run_id: int, executors: list[FakeExecutor]) -> PlainSearch:
    """Check a recorded run and the floors of its tasks against the plain search."""
    plain = PlainSearch(store.run(run_id).config, list(store.evaluations(run_id)))
    candidates = list(store.candidates(run_id))
    assert len(candidates) == len(plain.drawn)
    for candidate, drawn in zip(candidates, plain.drawn, strict=True):
        found = candidate.graph, candidate.origin, candidate.functional_key, dict(candidate.discarded)
        assert found == (drawn.graph, drawn.origin, drawn.functional_key, drawn.discarded), candidate.index
    for executor in executors:
        for task in executor.submitted:
            assert dict(task.floors) == plain.drawn[task.index].floors, task.index
            assert Graph.from_json(task.graph) == plain.drawn[task.index].graph.canonical
    return plain


NAMES = ("bn-relu", "evonorm-s1", "bn-relu", "dyt-channels")  # the third is rejected as a duplicate of the first


def small(budget: int, **settings: object) -> RunConfig:
    """Mostly offspring, because a random graph takes ten times as many proposals to pass; without twins."""
    return config(**{"budget": budget, "fresh": 0.1, "twins": 0.0, **settings})


ONE, MIXED = (replace(PROTOCOL, objectives=names) for names in ((ANCHORS[1],), ("size", ANCHORS[1])))
CONFIGURATIONS = {
    "tournaments": small(60, fresh=0.3),
    "lookahead of 1": small(70, lookahead=1, population=6, smallest_tournament=3, seed=5),
    "twins": small(50, twins=0.02, lookahead=3),
    "stride": small(60, stride=(0.3, 0.6), smallest_tournament=3, lookahead=3),
    "choices": small(80, choices=5, twins=1e-6, strays=0.2, smallest_tournament=3, lookahead=3),
    "choices of strides": small(40, choices=3, twins=1e-6, strays=0.1, stride=(0.3, 0.9), protocol=PROTOCOL),
    "choices at random": small(25, choices=2, twins=1e-6, strays=0.0, strategy="random", lookahead=2),
    "parts": small(40, mutation="part", smallest_tournament=3, lookahead=3),
    "edits": small(60, mutation="edit", smallest_tournament=3, lookahead=3),
    "average": small(60, strategy="average", smallest_tournament=2),
    "nsga2": small(70, strategy="nsga2", population=10, survivors=4, lookahead=4),
    "nsga2 of one objective": small(
        50, strategy="nsga2", population=8, survivors=3, lookahead=2, protocol=replace(ONE, hurdle_steps=())
    ),
    "further objectives": small(50, smallest_tournament=5, protocol=MIXED),
    "random": small(25, strategy="random", lookahead=2),
    "seed graphs": small(
        40, lookahead=2, fresh=0.0, mutations=1, seed_graphs=tuple(zoo[name].to_json() for name in NAMES)
    ),
    "hurdles": small(110, population=24, lookahead=5, mutations=3, protocol=PROTOCOL),
    "hurdles at the first end": small(90, lookahead=5, protocol=replace(PROTOCOL, hurdle_steps=(), hurdle_ends=1)),
    "no hurdles at ends": small(60, lookahead=5, protocol=replace(PROTOCOL, hurdle_ends=0)),
    "a quantile of 0": small(60, protocol=replace(PROTOCOL, hurdle_quantile=0.0)),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_recorded_run_is_what_it_should_be(name: str) -> None:
    settings, store = CONFIGURATIONS[name], MemoryStore()
    executor = FakeExecutor(4, 2, coarsely if name == "average" else judged)
    run = store.create_run(settings, {})
    assert Search(run, store, executor).execute() is RunStatus.FINISHED
    plain = hold(store, run.id, [executor])
    # The case that the configuration is meant to test occurred.
    kinds = [drawn.origin.kind for drawn in plain.drawn]
    assert len(kinds) == settings.budget
    assert (OriginKind.MUTATION in kinds) is (settings.strategy != "random")
    assert settings.strategy == "random" or len(plain.full_windows) > 5
    if name == "twins":
        assert sum(drawn.discarded.get("twin", 0) for drawn in plain.drawn) > 3
    if name == "edits":
        changes = [change for drawn in plain.drawn for change in drawn.origin.mutations]
        assert {change.split()[0] for change in changes} == {"argument", "node"}
    if name == "choices":
        assert 0 < sum("prospects" not in drawn.discarded for drawn in plain.drawn) < 40
    if name == "stride":
        assert sum(drawn.discarded.get("stride", 0) for drawn in plain.drawn) > 20
    if name == "seed graphs":
        assert [kind is OriginKind.SEED for kind in kinds[:5]] == [True, True, False, True, False]
    if name == "hurdles":
        assert len({drawn.floors.get(CHECKPOINTS[0]) for drawn in plain.drawn}) > 5
        assert len({drawn.floors.get(CHECKPOINTS[1]) for drawn in plain.drawn}) > 3


@pytest.mark.parametrize(("lookahead", "capacity", "stride"), [(1, 1, ()), (4, 3, (0.3, 0.6))])
def test_a_run_that_is_stopped_at_every_index(lookahead: int, capacity: int, stride: tuple[float, ...]) -> None:
    """Stopped after the next draw, then after the next result, by coordinators that know only what is in the store.

    The first floors exist from about the fortieth candidate on, so those in between are drawn in one session. The store
    has another run, which has more candidates.
    """
    settings = small(60, lookahead=lookahead, stride=stride, population=7, smallest_tournament=3, protocol=PROTOCOL)
    store = MemoryStore()
    other = store.create_run(replace(settings, seed=8, budget=70), {})
    Search(other, store, FakeExecutor(3, 1, judged)).execute()
    run = store.create_run(settings, {})
    executors: list[FakeExecutor] = []
    stops: Counter[int] = Counter()
    status = RunStatus.RUNNING
    while status is not RunStatus.FINISHED:
        executors.append(FakeExecutor(capacity, len(executors), judged))
        event = "evaluated" if len(executors) % 2 else "drawn"
        stops[drawn := len(list(store.candidates(run.id)))] += 1
        count = 30 if 8 < drawn < 30 else 1
        status = Search(store.run(run.id), store, executors[-1], [Interrupter(event, count)]).execute()
    assert len(stops) > (30 if capacity == 1 else 10)
    assert [e.index for e in store.evaluations(run.id)] == list(range(settings.budget))
    plain = hold(store, run.id, executors)
    assert plain.drawn[-1].floors and len(plain.full_windows) > 10
    assert store.summary(other.id).evaluations == 70
