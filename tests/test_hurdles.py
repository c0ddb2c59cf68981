"""Hurdles: floors that follow from earlier candidates, equal for every number of workers, and their rejections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.judging.hurdles import LEAST_BEFORE, Checkpoint, Hurdles, checkpoints
from evonas.records.memory_store import MemoryStore
from evonas.settings.candidate import Evaluation, FilterOutcome, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from tests.fakes import ANCHORS, FakeExecutor, config, outcome, table

PROTOCOL = EvaluationProtocol(anchors=("a", "b", "c"), steps=100, hurdle_steps=(30, 60, 100), hurdle_quantile=0.25)


def met(index: int, name: str, value: float, accepted: bool = True) -> Evaluation:
    outcome = FilterOutcome(name, accepted, "" if accepted else "behind", value, 0.0)
    return Evaluation(index, Status.SCORED if accepted else Status.REJECTED, filters=(outcome,))


def test_checkpoints_lie_where_there_is_something_to_save() -> None:
    names = [c.name for c in checkpoints(PROTOCOL)]
    assert names == ["hurdle a end", "hurdle b 30", "hurdle b 60", "hurdle b end", "hurdle c 30", "hurdle c 60"]
    assert checkpoints(replace(PROTOCOL, hurdle_steps=())) == ()
    assert checkpoints(replace(PROTOCOL, anchors=("a",))) == ()
    # As many ends as the protocol says, but never that of the last anchor.
    ends = {count: checkpoints(replace(PROTOCOL, hurdle_steps=(), hurdle_ends=count)) for count in (0, 1, 2, 9)}
    assert {count: [c.name for c in found] for count, found in ends.items()} == {
        0: [],
        1: ["hurdle a end"],
        2: ["hurdle a end", "hurdle b end"],
        9: ["hurdle a end", "hurdle b end"],
    }
    steps_alone = [c.name for c in checkpoints(replace(PROTOCOL, hurdle_ends=0))]
    assert steps_alone == [name for name in names if "end" not in name]


def test_the_floor_is_the_quantile_of_all_who_came_by() -> None:
    hurdles, name = Hurdles(PROTOCOL, 1000), Checkpoint("b", 30).name
    values = [((i * 7) % 40) / 40 for i in range(40)]
    for i, value in enumerate(values):
        assert (name in hurdles.floors()) is (i >= LEAST_BEFORE)
        hurdles.add(met(i, name, value, accepted=i % 3 > 0))  # the rejected count too
    assert hurdles.floors() == {name: np.quantile(values, 0.25, method="lower")}
    # Exactly a quarter of those seen lie below.
    assert sum(value < hurdles.floors()[name] for value in values) == 9


def test_old_values_leave_the_window_and_other_filters_are_not_counted() -> None:
    hurdles, name = Hurdles(PROTOCOL, 25), Checkpoint("a", None).name
    for i in range(25):
        hurdles.add(met(i, name, 0.9))
    for i in range(25):
        hurdles.add(met(i, name, 0.1))
        hurdles.add(met(i, "quality", 1.0))
    assert hurdles.floors() == {name: 0.1}


@pytest.mark.parametrize("window", [1, LEAST_BEFORE - 1, LEAST_BEFORE])
def test_a_window_is_never_too_small_for_a_floor(window: int) -> None:
    hurdles, name = Hurdles(PROTOCOL, window), Checkpoint("a", None).name
    for i in range(3 * LEAST_BEFORE):
        hurdles.add(met(i, name, float(i)))
    newest = [float(i) for i in range(2 * LEAST_BEFORE, 3 * LEAST_BEFORE)]
    assert hurdles.floors() == {name: np.quantile(newest, 0.25, method="lower")}


def test_the_oldest_value_leaves_first_whatever_its_size_and_no_number_is_none() -> None:
    """Compared with a list of the newest thirty that is sorted each time."""
    hurdles, name = Hurdles(PROTOCOL, 30), Checkpoint("b", 60).name
    rng, seen = np.random.default_rng(4), []
    for i in range(200):
        value = float(rng.integers(8)) / 8  # many are equal
        if i % 7 == 0:
            hurdles.add_value(name, float("nan"))
        hurdles.add_value(name, value)
        seen.append(value)
        if i >= LEAST_BEFORE:
            assert hurdles.floors() == {name: sorted(seen[-30:])[int((min(i + 1, 30) - 1) * 0.25)]}


def test_a_quantile_of_zero_records_and_turns_nobody_away() -> None:
    hurdles, name = Hurdles(replace(PROTOCOL, hurdle_quantile=0.0), 1000), Checkpoint("a", None).name
    for i in range(50):
        hurdles.add(met(i, name, 0.5))
    assert hurdles.floors() == {}


def judged(task: Task) -> Evaluation:
    """The fake outcome, with one hurdle before the second anchor."""
    evaluation, name = outcome(task), Checkpoint(ANCHORS[0], None).name
    if evaluation.status is not Status.SCORED or not task.filtered:
        return evaluation
    value = evaluation.scores[ANCHORS[0]]
    if value < task.floors.get(name, 0.0):
        fallen = FilterOutcome(name, False, "behind", value, 0.0)
        return replace(evaluation, status=Status.REJECTED, scores={}, filters=(*evaluation.filters, fallen))
    return replace(evaluation, filters=(*evaluation.filters, FilterOutcome(name, True, "", value, 0.0)))


HURDLED = replace(
    config(budget=90), protocol=EvaluationProtocol(anchors=ANCHORS, hurdle_steps=(50,), hurdle_quantile=0.4)
)


def searched(executor: FakeExecutor, settings: RunConfig = HURDLED) -> list[tuple[object, ...]]:
    store = MemoryStore()
    run = store.create_run(settings, {})
    Search(run, store, executor).execute()
    return table(store, run)


@pytest.mark.parametrize("capacity", [2, 7])
def test_one_seed_one_search_with_hurdles(capacity: int) -> None:
    alone = searched(FakeExecutor(1, judge=judged))
    assert searched(FakeExecutor(capacity, 5, judge=judged)) == alone
    behind = [row for row in alone if "behind" in str(row[6])]
    assert len(behind) > 5  # so that the equality means something


def test_resume_after_an_interrupt_has_the_same_floors() -> None:
    class Interrupted(FakeExecutor):
        def poll(self, timeout: float) -> Sequence[Evaluation]:
            if len(self.submitted) > 60 and self.closed == 0:
                self.closed = 1
                raise KeyboardInterrupt
            return super().poll(timeout)

    store = MemoryStore()
    run = store.create_run(HURDLED, {})
    Search(run, store, Interrupted(7, 3, judge=judged)).execute()
    assert len(list(store.evaluations(run.id))) < 90
    Search(store.run(run.id), store, FakeExecutor(3, 8, judge=judged)).execute()
    assert table(store, run) == searched(FakeExecutor(1, judge=judged))
