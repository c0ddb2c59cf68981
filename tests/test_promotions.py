"""Longer trainings within a search: the same whatever the workers, recorded, resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isnan
from pathlib import Path

import pytest

from evonas.db import open_store
from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.evolution.promotions import protocol_of_rung
from evonas.judging.rungs import Ladder
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.run_config import RunConfig
from tests.fakes import ANCHORS, FakeExecutor, config, outcome, table
from tests.test_evolution import searched

SETTINGS = config(budget=80, strategy="families", rungs=(2, 4), promotion=0.3, rung_lookahead=7, population=30)


def longer(store: Store, run: RunInfo) -> list[tuple[object, ...]]:
    """The records of trainings on rungs without times."""
    return [(*one.key, repr(one.score), one.reason) for one in store.retrainings(run.id)]


@pytest.fixture(scope="module")
def undisturbed() -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    store, run = searched(SETTINGS, FakeExecutor(1))
    return table(store, run), longer(store, run)


@pytest.mark.parametrize("capacity", [2, 5, 30])
@pytest.mark.parametrize("order", [1, 2])
def test_the_same_search_whatever_the_workers(undisturbed: object, capacity: int, order: int) -> None:
    store, run = searched(SETTINGS, FakeExecutor(capacity, order))
    assert (table(store, run), longer(store, run)) == undisturbed


def test_trainings_are_longer_with_seeds_of_their_own_and_without_filters() -> None:
    executor = FakeExecutor(2)
    searched(SETTINGS, executor)
    asked = [task for task in executor.submitted if task.rung]
    assert {task.rung for task in asked} == {1, 2}
    assert len({task.key for task in asked}) == len(asked)
    for task in asked:
        assert task.protocol.steps == {1: 2, 2: 4}[task.rung] * SETTINGS.protocol.steps
        assert not task.filtered and task.protocol.anchors == ANCHORS and not task.protocol.hurdle_steps
    seeds = {task.protocol.seed for task in asked} | {SETTINGS.protocol.seed}
    assert len(seeds) == 3  # one for each rung, and that of the run
    below = {task.index for task in asked if task.rung == 1}
    assert {task.index for task in asked if task.rung == 2} < below


def test_every_promotion_of_the_recorded_scores_was_trained(undisturbed: object) -> None:
    """The ladder that follows from the records asks for the recorded trainings and no other."""
    store, run = searched(SETTINGS, FakeExecutor(3))
    scored = {e.index: e.mean for e in store.evaluations(run.id) if e.status is Status.SCORED}
    ladder, asked = Ladder(2, 0.3), set()
    for index, mean in scored.items():
        asked |= {(p.index, p.rung) for p in ladder.add(index, 0, mean, None)}
    trained = {one.layer for one in store.retrainings(run.id)}
    # Without families fewer go on; those that do so by their score alone do so in any case.
    assert {index for index, _ in asked} - {max(scored, key=lambda i: scored[i])} <= trained | {max(scored)}
    of_rung = [one for one in store.retrainings(run.id) if one.stage is RetrainingStage.RUNG]
    assert len(of_rung) == len(store.retrainings(run.id)) == len(ANCHORS) * len({(o.layer, o.steps) for o in of_rung})


class _Interrupted(FakeExecutor):
    """Raises KeyboardInterrupt after so many polls."""

    def __init__(self, polls: int, capacity: int, order: int) -> None:
        super().__init__(capacity, order)
        self._left = polls

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().poll(timeout)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else open_store(str(tmp_path / "runs.db"))
    with opened:
        yield opened


@pytest.mark.parametrize("polls", [3, 17, 40])
def test_interrupted_again_and_again(store: Store, undisturbed: object, polls: int) -> None:
    run = store.create_run(SETTINGS, {})
    for session in range(200):
        status = Search(store.run(run.id), store, _Interrupted(polls, 3, session)).execute()
        if status is RunStatus.FINISHED:
            break
    assert session >= 1
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
        odd = [one for one in store.retrainings(run.id) if isinstance(one.layer, int) and one.layer % 2]
        assert odd and all(isnan(one.score) and one.reason == "out of memory" for one in odd)
        assert {one.steps for one in odd} == {2 * SETTINGS.protocol.steps}  # none went further
        attempts = [task.attempt for task in executor.submitted if task.rung and task.index % 2]
        assert sorted(set(attempts)) == list(range(1, SETTINGS.max_attempts + 1))
    assert tables[0] == tables[1]


def test_seconds_of_longer_trainings_count_towards_the_limit() -> None:
    whole, run = searched(SETTINGS, FakeExecutor(1))
    spent = sum(one.seconds for one in whole.retrainings(run.id))
    spent += sum(e.core_seconds for e in whole.evaluations(run.id))
    half: RunConfig = config(
        **{name: getattr(SETTINGS, name) for name in ("budget", "strategy", "rungs", "promotion", "rung_lookahead")},
        population=30,
        core_minutes=spent / 120,
    )
    store, run = searched(half, FakeExecutor(1))
    limited = sum(e.core_seconds for e in store.evaluations(run.id)) + sum(o.seconds for o in store.retrainings(run.id))
    assert store.summary(run.id).candidates < 80
    assert limited == pytest.approx(spent / 2, rel=0.35)  # what is in flight, and who has earned more, still ends


def test_the_seed_of_a_rung_is_that_of_no_other_run_nearby() -> None:
    seeds = [
        protocol_of_rung(config(rungs=(2, 4), protocol=_seeded(seed)), rung).seed
        for seed in range(50)
        for rung in (1, 2)
    ]
    assert len({*seeds, *range(2000)}) == 100 + 2000


def _seeded(seed: int) -> object:
    from dataclasses import replace

    return replace(SETTINGS.protocol, seed=seed)


def test_records_of_rungs_belong_to_no_reranking() -> None:
    store, run = searched(SETTINGS, FakeExecutor(2))
    one = store.retrainings(run.id)[0]
    assert isinstance(one, Retraining) and one.stage is RetrainingStage.RUNG and one.held_out == 0.0
