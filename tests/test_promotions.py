"""Longer trainings within a search: the same whatever the workers, recorded, resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path

import pytest

from evonas.db import open_store
from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.judging.families import family_of
from evonas.judging.rungs import Ladder, Promotion, Scores
from evonas.records.evidence import ladder_of
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, Status
from tests.fakes import ANCHORS, FakeExecutor, InterruptedExecutor, config, outcome, table
from tests.test_evolution import searched

SETTINGS = config(
    budget=80, strategy="families", rungs=(2, 4), rung_anchors=(1,), promotion=0.3, rung_lookahead=7, population=30
)
ON_RUNG = {1: ANCHORS[:1], 2: ANCHORS}


def longer(store: Store, run: RunInfo) -> list[tuple[object, ...]]:
    """The records of trainings on rungs without times."""
    return [(*one.key, repr(one.score), one.reason) for one in store.rung_trainings(run.id)]


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    store, run = searched(SETTINGS, FakeExecutor(1))
    return table(store, run), longer(store, run)


@pytest.mark.parametrize("capacity", [2, 5, 30])
@pytest.mark.parametrize("order", [1, 2])
def test_the_same_search_whatever_the_workers(undisturbed: object, capacity: int, order: int) -> None:
    store, run = searched(SETTINGS, FakeExecutor(capacity, order))
    assert (table(store, run), longer(store, run)) == undisturbed


def test_the_last_rung_trains_the_networks_that_layers_are_for() -> None:
    executor, settings = FakeExecutor(2), replace(SETTINGS, target_anchors=("vgg-small", "densenet-small"))
    store, run = searched(settings, executor)
    trained = {(task.rung, task.protocol.anchors) for task in executor.submitted}
    assert trained == {(0, ANCHORS), (1, ANCHORS[:1]), (2, ("vgg-small", "densenet-small"))}
    ladder = ladder_of(store, run)  # read again from what was recorded
    assert any(len(ladder.scores(index)) == 3 for index in ladder.indices)


def test_trainings_are_longer_with_seeds_of_their_own_and_without_filters() -> None:
    executor, settings = FakeExecutor(2), replace(SETTINGS, rung_rates=(3.0,))
    searched(settings, executor)
    asked = [task for task in executor.submitted if task.rung]
    assert {task.rung for task in asked} == {1, 2}
    rates = {(task.rung, round(task.protocol.lr / settings.protocol.lr, 9)) for task in asked}
    assert rates == {(1, 3.0), (2, 1.0)}
    assert len({task.key for task in asked}) == len(asked)
    for task in asked:
        assert task.protocol.steps == task.deadlines * SETTINGS.protocol.steps
        assert task.deadlines == {1: 2, 2: 4}[task.rung]
        assert not task.filtered and task.protocol.anchors == ON_RUNG[task.rung] and not task.protocol.hurdle_steps
    seeds = {task.protocol.seed for task in asked} | {SETTINGS.protocol.seed}
    assert len(seeds) == 3  # one for each rung, and that of the run
    below = {task.index for task in asked if task.rung == 1}
    assert {task.index for task in asked if task.rung == 2} < below


def test_every_promotion_that_follows_from_the_records_was_trained_and_no_other() -> None:
    """A search without lookahead, in which everything is applied in order of index, is repeated on a ladder."""
    settings = replace(SETTINGS, rung_lookahead=1, lookahead=1)
    store, run = searched(settings, FakeExecutor(3))
    longest = {1: 2 * settings.protocol.steps, 2: 4 * settings.protocol.steps}
    found = {(o.layer, o.steps, o.anchor): o.score for o in store.rung_trainings(run.id)}

    def scores(promotion: Promotion) -> Scores:
        return tuple(found[promotion.index, longest[promotion.rung], anchor] for anchor in ON_RUNG[promotion.rung])

    ladder, due, asked = Ladder(2, 0.3), list[Promotion](), set[Promotion]()
    pairs = [(store.candidate(run.id, e.index), e) for e in store.evaluations(run.id)]
    for candidate, evaluation in [*pairs, (None, None), (None, None)]:
        new = [p for promotion in due for p in ladder.add(promotion.index, promotion.rung, scores(promotion))]
        if candidate is not None and evaluation is not None and evaluation.status is Status.SCORED:
            new += ladder.add(candidate.index, 0, [evaluation.scores[a] for a in ANCHORS], family_of(candidate.graph))
        asked.update(new)
        due = new
    assert {(p.index, longest[p.rung]) for p in asked} == {(layer, steps) for layer, steps, _ in found}
    assert len(asked) > 10 and all(one.stage is RetrainingStage.RUNG for one in store.rung_trainings(run.id))
    assert len(store.rung_trainings(run.id)) == sum(len(ON_RUNG[promotion.rung]) for promotion in asked)


def test_a_result_counts_from_so_many_candidates_later_on() -> None:
    """Results that differ on a rung change no candidate that is drawn before they count."""

    def other(task: Task) -> Evaluation:
        found = outcome(task)
        return replace(found, scores=dict.fromkeys(ANCHORS, 0.01)) if task.rung else found

    first, changed = (searched(SETTINGS, FakeExecutor(2, judge=judge)) for judge in (outcome, other))
    tables = [table(*found) for found in (first, changed)]
    same = next(place for place, rows in enumerate(zip(*tables, strict=True)) if rows[0] != rows[1])
    scored = [e.index for e in first[0].evaluations(1) if e.status is Status.SCORED]
    # The eighth scored candidate is the first that can promote one.
    assert same >= scored[7] + SETTINGS.rung_lookahead + SETTINGS.lookahead


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else open_store(str(tmp_path / "runs.db"))
    with opened:
        yield opened


@pytest.mark.parametrize("after", [3, 17, 40])
def test_interrupted_again_and_again(store: Store, undisturbed: object, after: int) -> None:
    run = store.create_run(SETTINGS, {})
    for session in range(200):
        status = Search(store.run(run.id), store, InterruptedExecutor(after, 3, session)).execute()
        if status is RunStatus.FINISHED:
            break
    assert session >= 1
    assert (table(store, run), longer(store, run)) == undisturbed


class LateTrainings(FakeExecutor):
    """Carries out longer trainings when nothing else is left to do, and is interrupted at one of those moments."""

    def __init__(self, moment: int | None = None) -> None:
        super().__init__(3)
        self.moments, self._moment = 0, moment

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        if not (first := next((task for task in self.queue if not task.rung), None)):
            if not self.queue:
                return []
            if self.moments == self._moment:
                raise KeyboardInterrupt
            self.moments, first = self.moments + 1, self.queue[0]
        self.queue.remove(first)
        return [outcome(first)]


def test_a_run_that_is_stopped_while_it_waits_for_longer_trainings_alone(undisturbed: object) -> None:
    whole = LateTrainings()
    store, run = searched(SETTINGS, whole)
    assert (table(store, run), longer(store, run)) == undisturbed and whole.moments > 50
    for moment in range(0, whole.moments, 3):
        store = MemoryStore()
        run = store.create_run(SETTINGS, {})
        assert Search(run, store, LateTrainings(moment)).execute() is RunStatus.INTERRUPTED
        Search(store.run(run.id), store, FakeExecutor(2, moment)).execute()
        assert (table(store, run), longer(store, run)) == undisturbed


def test_a_run_that_has_ended_is_not_trained_again(store: Store) -> None:
    run = store.create_run(SETTINGS, {})
    Search(run, store, FakeExecutor(3)).execute()
    again = FakeExecutor(3)
    assert Search(store.run(run.id), store, again).execute() is RunStatus.FINISHED
    assert again.submitted == []


def test_a_training_that_fails_is_recorded_and_counts_for_nothing() -> None:
    def failing(task: Task) -> Evaluation:
        if task.rung and task.index % 2:
            return Evaluation(task.index, Status.FAILED, reason="out of memory", attempts=task.attempt, rung=task.rung)
        return outcome(task)

    tables = []
    for capacity in (1, 4):
        executor = FakeExecutor(capacity, judge=failing)
        store, run = searched(SETTINGS, executor)
        tables.append((table(store, run), longer(store, run)))
        odd = [one for one in store.rung_trainings(run.id) if isinstance(one.layer, int) and one.layer % 2]
        assert odd and all(isnan(one.score) and one.reason == "out of memory" for one in odd)
        assert {one.steps for one in odd} == {2 * SETTINGS.protocol.steps}  # none went further
        attempts = [task.attempt for task in executor.submitted if task.rung and task.index % 2]
        assert sorted(set(attempts)) == list(range(1, SETTINGS.max_attempts + 1))
    assert tables[0] == tables[1]


def test_seconds_of_longer_trainings_count_towards_the_limit() -> None:
    settings = replace(SETTINGS, rung_anchors=())  # of which all are as long
    whole, run = searched(settings, FakeExecutor(1))
    spent = sum(one.seconds for one in whole.retrainings(run.id))
    spent += sum(e.core_seconds for e in whole.evaluations(run.id))
    store, run = searched(replace(settings, core_minutes=spent / 120), FakeExecutor(1))
    limited = sum(e.core_seconds for e in store.evaluations(run.id)) + sum(
        o.seconds for o in store.rung_trainings(run.id)
    )
    assert store.summary(run.id).candidates < 80
    assert limited == pytest.approx(spent / 2, rel=0.35)  # what is in flight, and who has earned more, still ends


def test_the_seed_of_a_rung_is_that_of_no_other_run_nearby() -> None:
    runs = [config(rungs=(2, 4), protocol=replace(SETTINGS.protocol, seed=seed)) for seed in range(50)]
    seeds = [run.on_rung(rung).seed for run in runs for rung in (1, 2)]
    assert len({*seeds, *range(2000)}) == 100 + 2000


def test_a_run_whose_candidates_were_promoted_otherwise_goes_on() -> None:
    """As by an earlier version of evonas, which forecast otherwise: what was recorded counts, and nothing is missed."""
    store, run = searched(replace(SETTINGS, budget=60), FakeExecutor(2))
    recorded = list(store.rung_trainings(run.id))
    promoted = {one.layer for one in recorded}
    others = [e.index for e in store.evaluations(run.id) if e.status is Status.SCORED and e.index not in promoted]
    kept = [one for one in recorded if one.layer != recorded[0].layer]
    mine = MemoryStore()
    copy = mine.create_run(SETTINGS, {})
    mine.record(copy.id, candidates=list(store.candidates(run.id)), evaluations=list(store.evaluations(run.id)))
    first = next(one for one in recorded if one.steps == SETTINGS.on_rung(1).steps)
    for one in (*kept, *(replace(first, layer=index, score=0.99) for index in others[:3])):
        mine.record_retraining(copy.id, one)
    again = FakeExecutor(3)
    assert Search(mine.run(copy.id), mine, again).execute() is RunStatus.FINISHED
    assert mine.summary(copy.id).candidates == SETTINGS.budget
    trained = {(task.index, task.rung) for task in again.submitted if task.rung}
    assert trained.isdisjoint((index, 1) for index in others[:3])  # what was recorded is not trained again
    ladder = ladder_of(mine, mine.run(copy.id))
    assert all(ladder.scores(index)[1] == pytest.approx(0.99) for index in others[:3])
