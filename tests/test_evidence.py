"""What is known of recorded candidates from all of their trainings, and who is best by it."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
from rich.console import Console

from evonas.display.tables import layers_table
from evonas.evolution.executor import Task
from evonas.evolution.history import History
from evonas.evolution.promotions import Promotions
from evonas.judging.cheap_filters import ResumableFilters
from evonas.judging.families import family_of
from evonas.records import results
from evonas.records.evidence import best_known, ladder_of
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunInfo
from evonas.reruns.finalists import finalists
from evonas.settings.candidate import Evaluation, Status
from tests.fakes import ANCHORS, FakeExecutor, config, outcome
from tests.test_evolution import searched

SETTINGS = config(
    budget=80,
    strategy="families",
    rungs=(2, 4),
    rung_anchors=(1,),
    rung_rates=(2.0,),
    promotion=0.3,
    rung_lookahead=7,
    population=30,
)


@pytest.fixture(scope="module")
def found() -> tuple[MemoryStore, RunInfo]:
    return searched(SETTINGS, FakeExecutor(3))


def test_the_ladder_of_the_records_is_that_of_the_search(found: tuple[MemoryStore, RunInfo]) -> None:
    store, run = found
    history = History(SETTINGS)
    history.restore(store, run.id, ResumableFilters(SETTINGS.twins), lambda candidate: None)
    history.apply_all()
    assert isinstance(history.promotions, Promotions) and not history.promotions.pending
    recorded, own = ladder_of(store, run), history.promotions.ladder
    assert set(recorded.indices) == set(own.indices) and len(own.indices) > 20
    for index in own.indices:
        assert recorded.scores(index) == own.scores(index)
        assert recorded.root(index) == own.root(index)
        assert recorded.outlook(index).cautious == pytest.approx(own.outlook(index).cautious, abs=1e-12)


def test_the_best_are_those_that_promise_most(found: tuple[MemoryStore, RunInfo]) -> None:
    store, run = found
    ladder = ladder_of(store, run)
    known = best_known(store, run, 1000)
    promises = [ladder.outlook(candidate.index).cautious for candidate, *_ in known]
    assert promises == sorted(promises, reverse=True) and len(known) == len(ladder.indices)
    by_score = [candidate.index for candidate, _ in store.best(run.id, 1000)]
    assert [candidate.index for candidate, *_ in known] != by_score  # longer trainings change the order
    assert best_known(store, run, 3) == known[:3]
    assert list(best_known(store, run, 0)) == list(best_known(store, run, -1)) == []
    for candidate, evaluation, longer in known:
        assert evaluation == store.evaluation(run.id, candidate.index)
        of = [one for one in store.rung_trainings(run.id) if one.layer == candidate.index]
        steps = sorted({one.steps for one in of})
        assert longer == tuple(fmean(one.score for one in of if one.steps == s) for s in steps)


def test_rows_and_tables_show_the_longer_trainings(found: tuple[MemoryStore, RunInfo]) -> None:
    store, run = found
    rows = results.best(store, run.id, 12)
    assert [row.id for row in rows] == [f"1/{known[0].index}" for known in best_known(store, run, 12)]
    longest = next(row for row in rows if len(row.longer) == 2)
    assert list(longest.longer) == [200, 400]
    assert longest.as_dict()["longer"] == {str(steps): score for steps, score in longest.longer.items()}
    assert longest.longer_on == {200: ANCHORS[:1]} and longest.as_dict()["longer_on"] == {"200": [ANCHORS[0]]}
    twice = 2 * SETTINGS.protocol.lr
    assert longest.longer_at == {200: twice} and longest.as_dict()["longer_at"] == {"200": twice}
    console = Console(width=100, record=True)
    console.print(layers_table(rows, {"bn-relu": dict.fromkeys(ANCHORS, 0.5)}, ANCHORS))
    text = console.export_text()
    assert "200-" in text and "400-" in text and f"{longest.longer[400]:.3f}" in text
    assert f"200 steps: {ANCHORS[0]} alone, learning rate {twice:g}" in text


def test_details_have_the_longer_trainings(found: tuple[MemoryStore, RunInfo]) -> None:
    store, run = found
    known = next(known for known in best_known(store, run, 99) if len(known[2]) == 2)
    told = results.details(store, run.id, known[0].index)["longer"]
    assert [one["steps"] for one in told] == [200, 400] and len({one["seed"] for one in told}) == 2
    assert [one["lr"] for one in told] == [2 * SETTINGS.protocol.lr, SETTINGS.protocol.lr]
    assert [fmean(one["scores"].values()) for one in told] == list(known[2])
    short = next(known for known in best_known(store, run, 99) if not known[2])
    assert results.details(store, run.id, short[0].index)["longer"] == []


def test_without_rungs_the_best_are_those_with_the_best_scores() -> None:
    store, run = searched(config(), FakeExecutor(2))
    assert [known[:2] for known in best_known(store, run, 10)] == list(store.best(run.id, 10))
    assert all(known[2] == () for known in best_known(store, run, 10))
    assert "longer" in results.best(store, run.id, 1)[0].as_dict()


def test_a_training_that_failed_or_is_not_whole_counts_for_nothing() -> None:
    def failing(task: Task) -> Evaluation:
        if task.rung:
            return Evaluation(task.index, Status.FAILED, reason="it died", attempts=task.attempt, rung=task.rung)
        return outcome(task)

    store, run = searched(replace(SETTINGS, rung_anchors=()), FakeExecutor(2, judge=failing))
    assert store.rung_trainings(run.id)
    assert all(known[2] == () for known in best_known(store, run, 100))
    one = store.rung_trainings(run.id)[0]
    store.record_retraining(run.id, replace(one, score=0.9))  # on one of two anchors
    assert all(known[2] == () for known in best_known(store, run, 100))


def test_finalists_are_the_best_of_each_family_by_all_trainings(found: tuple[MemoryStore, RunInfo]) -> None:
    store, run = found
    expected: dict[object, int] = {}
    for candidate, *_ in best_known(store, run, 1000):
        expected.setdefault(family_of(candidate.graph), candidate.index)
    assert finalists(store, run.id, 4) == list(expected.values())[:4]
    assert len(expected) >= 4
