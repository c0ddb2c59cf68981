"""Results of a run: rows, fronts, details and totals, compared with values recorded by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evonas.errors import StorageError
from evonas.judging.cheap_filters import NUMERICAL, SAMPLING
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.records import results
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.running_totals import RunningTotals
from evonas.records.time_breakdown import breakdown
from evonas.records.timekeeping import AVAILABLE, DATABASE, EVALUATING, UNFINISHED, WAITING
from evonas.settings.candidate import (
    BUILDING,
    FAILED_ATTEMPTS,
    Candidate,
    Evaluation,
    FilterOutcome,
    Origin,
    OriginKind,
    Status,
)
from tests import store_samples
from tests.fakes import ANCHORS, config
from tests.store_samples import CONFIG, candidate, refused

WIDE, DEEP = ANCHORS
MIXED = (WIDE, "size")
SCORES = {0: (0.5, 0.5, 7), 1: (0.75, 0.25, 5), 2: (0.25, 0.875, 3), 4: (0.75, 0.5, 9), 5: (0.75, 0.25, 5)}
"""Scores on both anchors, and sizes."""


def drawn(index: int, text: str, origin: Origin | None = None) -> Candidate:
    graph = Graph.parse(text)
    seconds = {SAMPLING: 0.25, NUMERICAL: 0.5}
    return Candidate(
        index, graph, graph.key, f"f{index}", origin or Origin(OriginKind.RANDOM), {"structural": 2}, seconds
    )


def scored(index: int) -> Evaluation:
    wide, deep, size = SCORES[index]
    passed = FilterOutcome("quality", True, "", 0.375, 0.125), FilterOutcome(f"hurdle {WIDE} end", True, "", wide, 0.0)
    seconds = {DEEP: 4.0, WIDE: 2.0, "size": 0.5, BUILDING: 1.0}
    return Evaluation(index, Status.SCORED, {WIDE: wide, DEEP: deep}, {"size": size}, passed, seconds, wall=8.0)


@pytest.fixture
def store() -> MemoryStore:
    """A store whose second run has candidates."""
    store = MemoryStore()
    settings = config(seed=5)
    store.create_run(settings, {})
    run = store.create_run(replace(settings, protocol=replace(settings.protocol, objectives=MIXED)), {})
    child = Origin(OriginKind.MUTATION, 0, ("node 4: a -> b", "node 5: c -> d"))
    texts = ["tanh(x + 0)", "tanh(v1 * x)", "exp(x)", "-x", "sigmoid(x)", "x * x", "abs(x)"]
    candidates = [drawn(i, text, child if i == 3 else None) for i, text in enumerate(texts)]
    fallen = FilterOutcome("signal", False, "vanishes", 3.5, 0.25)
    lost = Evaluation(3, Status.FAILED, seconds={FAILED_ATTEMPTS: 16.0}, reason="it died", attempts=2)
    store.record(run.id, candidates=candidates[:4], evaluations=[scored(0), scored(1), scored(2), lost])
    store.record(run.id, candidates=candidates[4:], evaluations=[scored(4), scored(5)])
    more = drawn(7, "x + x")
    store.record(run.id, candidates=[more], evaluations=[Evaluation(7, Status.REJECTED, filters=(fallen,))])
    return store


def ids(rows: list[results.ResultRow]) -> list[str]:
    return [row.id for row in rows]


def test_the_best_by_mean_and_equals_by_index(store: MemoryStore) -> None:
    # Means: 0.5, 0.5, 0.5625, 0.625, 0.5.
    assert ids(results.best(store, 2)) == ["2/4", "2/2", "2/0", "2/1", "2/5"]
    assert ids(results.best(store, 2, 2)) == ["2/4", "2/2"]
    first = results.best(store, 2, 1)[0]
    assert (first.scores, first.mean, first.measures) == ({WIDE: 0.75, DEEP: 0.5}, 0.625, {"size": 9})
    assert results.best(store, 1) == [] == results.pareto(store, 1)


def test_the_best_of_each_family(store: MemoryStore) -> None:
    """0 and 1 are tanh twice; 4, a sigmoid, does the same but better. 2 is exp(x) and 5 is x * x."""
    bounded, rectifies, folds = (
        "no statistics, saturates, bounded",
        "no statistics, superlinear, rectifies",
        "no statistics, superlinear, folds",
    )
    found = results.leaders(store, 2)
    assert [(row.id, row.family) for row in found] == [("2/4", bounded), ("2/2", rectifies), ("2/5", folds)]
    assert [row.as_dict()["family"] for row in found] == [bounded, rectifies, folds]
    assert ids(results.leaders(store, 2, 2)) == ["2/4", "2/2"]
    # Two rows are read for each family that is wanted at first, then more.
    assert ids(results.best_by_family(store, 2)) == ["2/4", "2/2", "2/5", "2/0", "2/1"]
    assert ids(results.best_by_family(store, 2, 4)) == ["2/4", "2/2", "2/5", "2/0"]
    assert ids(results.best_by_family(store, 2, 3)) == ["2/4", "2/2", "2/5"]
    assert ids(results.best_by_family(store, 2, 1)) == ["2/4"]
    for nothing in (0, -1):
        assert results.leaders(store, 2, nothing) == results.best_by_family(store, 2, nothing) == []
    assert results.leaders(store, 1) == results.best_by_family(store, 1) == []
    assert results.details(store, 2, 5)["family"] == folds


def test_families_are_sought_further_down_but_not_without_end(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 100 layers of one family comes one of another, on place 101; the reads are of 4, 20, 100 and 500 rows."""
    run = store.create_run(config(seed=6), {})
    texts = ["max(x, 0)"] * 100 + ["x / std_wh(x)"]
    for i, text in enumerate(texts):
        scores = {WIDE: 0.9 - i / 1000, DEEP: 0.5}
        store.record(run.id, candidates=[drawn(i, text)], evaluations=[Evaluation(i, Status.SCORED, scores)])
    asked: list[int] = []
    read = store.best
    monkeypatch.setattr(store, "best", lambda run_id, limit: asked.append(limit) or read(run_id, limit))
    assert ids(results.leaders(store, run.id, 2)) == [f"{run.id}/0", f"{run.id}/100"] and asked == [4, 20, 100, 500]
    monkeypatch.setattr(results, "AMONG", 100)
    asked.clear()
    assert ids(results.leaders(store, run.id, 2)) == [f"{run.id}/0"] and asked == [4, 20, 100]
    assert ids(results.leaders(store, run.id, 1)) == [f"{run.id}/0"]


def test_the_front_by_the_objectives_of_the_run(store: MemoryStore) -> None:
    """By the first anchor and by size, where less is better: 1 and 5 are equal and beat 0 and 4."""
    assert ids(results.pareto(store, 2)) == ["2/2", "2/1", "2/5"]
    # On both anchors, 4 beats 0, 1 and 5; 2 is the best on the other.
    run = store.run(2)
    store._runs[2] = replace(run, config=replace(run.config, protocol=replace(run.config.protocol, objectives=ANCHORS)))
    assert ids(results.pareto(store, 2)) == ["2/4", "2/2"]


def test_a_row_names_a_published_layer_and_shows_the_canonical_form(store: MemoryStore) -> None:
    rows = {row.id: row for row in results.best(store, 2)}
    assert (rows["2/1"].name, rows["2/0"].name) == ("dyt-channels", None)
    assert rows["2/0"].expression == "tanh(x)"
    told = rows["2/0"].as_dict()
    assert Graph.from_json(json.dumps(told.pop("graph"))) == Graph.parse("tanh(x)")
    assert told == {
        "id": "2/0",
        "expression": "tanh(x)",
        "name": None,
        "family": "no statistics, saturates, bounded",
        "scores": {WIDE: 0.5, DEEP: 0.5},
        "mean": 0.5,
        "measures": {"size": 7},
        "longer": {},
        "longer_on": {},
        "longer_at": {},
    }


def test_details_of_one_that_was_scored_one_that_failed_and_one_that_waits(store: MemoryStore) -> None:
    told = results.details(store, 2, 1)
    assert told["name"] == "dyt-channels" and told["key"] == zoo["dyt-channels"].key and told["functional_key"] == "f1"
    assert (told["origin"], told["parent"], told["mutations"]) == ("random", None, [])
    assert (told["status"], told["mean"], told["attempts"]) == ("scored", 0.5, 1)
    assert told["scores"] == {WIDE: 0.75, DEEP: 0.25} and told["measures"] == {"size": 5}
    assert told["training_seconds"] == {DEEP: 4.0, WIDE: 2.0, "size": 0.5, BUILDING: 1.0}
    quality = {"name": "quality", "accepted": True, "reason": "", "value": 0.375, "seconds": 0.125}
    assert told["filters"][0] == quality and len(told["filters"]) == 2
    told = results.details(store, 2, 3)
    assert (told["id"], told["parent"], told["origin"]) == ("2/3", "2/0", "mutation")
    assert told["mutations"] == ["node 4: a -> b", "node 5: c -> d"]
    assert (told["status"], told["reason"], told["mean"], told["attempts"]) == ("failed", "it died", None, 2)
    told = results.details(store, 2, 6)
    assert told["status"] == "pending" and "scores" not in told and told["expression"] == "abs(x)"
    told = results.details(store, 2, 0)
    assert Graph.from_json(json.dumps(told["drawn"])) == Graph.parse("tanh(x + 0)")
    assert Graph.from_json(json.dumps(told["graph"])) == Graph.parse("tanh(x)")


@pytest.mark.parametrize(
    ("scores", "measures", "strange"),
    [({WIDE: 0.5}, {}, DEEP), ({WIDE: 0.5, DEEP: 0.5}, {"their-depth": 1.0}, "their-depth")],
)
def test_what_is_not_as_the_run_has_it_is_damage(
    store: MemoryStore, scores: dict[str, float], measures: dict[str, float], strange: str
) -> None:
    store.record(2, candidates=[drawn(8, "x")], evaluations=[Evaluation(8, Status.SCORED, scores, measures)])
    with refused(StorageError, f"candidate 8 of run 2 is damaged: '?{strange}'? does not match the run's protocol"):
        results.details(store, 2, 8)
    with refused(StorageError, "candidate 8 of run 2 is damaged"):
        results.best(store, 2)


def test_a_run_in_totals(store: MemoryStore) -> None:
    times = {WAITING: 3.0, DATABASE: 1.0, AVAILABLE: 100.0, EVALUATING: 40.0, UNFINISHED: 12.0}
    store.record(2, status=RunStatus.INTERRUPTED, elapsed=50.0, times=times)
    store.record_reference(2, "bn-relu", {WIDE: 0.25, DEEP: 0.5})
    run, summary = store.run(2), store.summary(2)
    told = results.status(run, summary)
    assert [told[name] for name in ("run", "status", "seed", "budget", "coordinator")] == [
        2,
        "interrupted",
        5,
        40,
        None,
    ]
    assert [told[name] for name in ("strategy", "candidates", "retries", "elapsed")] == ["pareto", 8, 1, 50.0]
    assert told["evaluations"] == {"scored": 5, "rejected": 1, "failed": 1}
    assert told["discarded"] == {"structural": 16} and told["created"] == run.created.isoformat()
    rejecting = {"judged": 1, "rejected": 1, "seconds": 0.25, "reasons": {"vanishes": 1}}
    assert told["filters"]["signal"] == rejecting and told["filters"]["quality"]["judged"] == 5
    assert told["seconds"]["drawing"] == {SAMPLING: 2.0, NUMERICAL: 4.0}
    assert told["seconds"]["training"][WIDE] == 10.0 and told["references"] == {"bn-relu": {WIDE: 0.25, DEEP: 0.5}}
    spent = breakdown(run, summary)
    assert told["time"] == spent.as_dict()
    # Filters without hurdles, kernels, anchors in the protocol's order, objectives, and the rest.
    assert list(spent.workers.items()) == [
        *[("filter quality", 0.625), ("filter signal", 0.25)],
        *[(BUILDING, 5.0), (f"training {WIDE}", 10.0), (f"training {DEEP}", 20.0), ("objective size", 2.5)],
        (FAILED_ATTEMPTS, 16.0),
    ]
    assert spent.core == {SAMPLING: 2.0, "cheap filters": 4.0, **spent.workers}
    assert list(spent.coordinator.items()) == [(DATABASE, 1.0), (WAITING, 3.0)]
    assert (spent.elapsed, spent.idle) == (50.0, 48.0)
    assert spent.as_dict()["workers_wall"] == {AVAILABLE: 100.0, EVALUATING: 40.0, UNFINISHED: 12.0, "idle": 48.0}
    assert replace(spent, unfinished=99.0).idle == 0.0


def test_references_by_their_means() -> None:
    found = {"a": {WIDE: 0.2, DEEP: 0.3}, "b": {WIDE: 0.9, DEEP: 0.0}, "c": {WIDE: 0.5, DEEP: 0.5}}
    assert [name for name, _ in results.references_as_rows(found)] == ["c", "b", "a"]


def test_a_search_that_ends_before_its_budget_says_why() -> None:
    run = RunInfo(1, replace(CONFIG, budget=50), RunStatus.FINISHED, datetime.now(UTC))
    totals = RunningTotals()
    for index in range(8):
        totals.drawn(candidate(index))
        totals.evaluated(store_samples.scored(index, 0.5))
    summary = totals.summary()
    assert "8 of 50 candidates: no further graph" in results.short_of_budget(run, summary)
    limit = summary.core_seconds / 60
    timed = replace(run, config=replace(run.config, core_minutes=limit))
    assert f"limit of {limit:g} core-minutes, with 8 of 50 candidates" in results.short_of_budget(timed, summary)
    for other in (replace(run, status=RunStatus.INTERRUPTED), replace(run, config=replace(run.config, budget=8))):
        assert results.short_of_budget(other, summary) == ""
