"""The times of a run: every moment is counted once, over all sessions, and displayed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evonas.evolution.loop import Search
from evonas.layers.build_clock import all_seconds, building, own_seconds
from evonas.records.memory_store import MemoryStore
from evonas.records.time_breakdown import breakdown
from evonas.records.timekeeping import (
    AVAILABLE,
    COORDINATOR,
    DATABASE,
    EVALUATING,
    SENDING,
    SHOWING,
    UNFINISHED,
    WAITING,
    Timekeeper,
)
from evonas.settings.candidate import BUILDING
from tests.fakes import FakeExecutor, config, outcome


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_every_moment_belongs_to_one_activity() -> None:
    clock = Clock()
    keeper = Timekeeper({}, 2, clock)
    clock.now += 1
    with keeper.during(WAITING):
        clock.now += 2
        with keeper.during(DATABASE):
            clock.now += 4
        clock.now += 8
    with pytest.raises(ValueError), keeper.during(SHOWING):
        clock.now += 16
        raise ValueError
    times = keeper.times()
    found = {name: times[name] for name in (SENDING, WAITING, DATABASE, SHOWING)}
    assert found == {SENDING: 1, WAITING: 10, DATABASE: 4, SHOWING: 16}
    assert sum(times[name] for name in COORDINATOR) == keeper.elapsed == 31
    assert times[AVAILABLE] == 2 * 31


def test_what_is_in_flight_is_not_idle_and_no_more_than_there_are_workers() -> None:
    clock = Clock()
    keeper = Timekeeper({EVALUATING: 5.0}, 2, clock)
    keeper.sent(0)
    keeper.sent(1)
    keeper.sent(2)  # waits in a queue
    clock.now += 10
    assert keeper.times()[UNFINISHED] == pytest.approx(20)
    keeper.came_back(0, 9.5)
    keeper.came_back(2, 1.0)
    times = keeper.times()
    assert (times[EVALUATING], times[UNFINISHED]) == pytest.approx((15.5, 10))


def test_a_run_adds_up_its_sessions() -> None:
    class Interrupted(FakeExecutor):
        def poll(self, timeout: float):  # type: ignore[no-untyped-def]
            if len(self.submitted) > 20:
                raise KeyboardInterrupt
            return super().poll(timeout)

    def judge(task):  # type: ignore[no-untyped-def]
        evaluation = outcome(task)
        return replace(evaluation, seconds={**evaluation.seconds, BUILDING: 0.5}, wall=2.0)

    store = MemoryStore()
    run = store.create_run(config(), {})
    Search(run, store, Interrupted(3, judge=judge)).execute()
    first = store.run(run.id)
    Search(first, store, FakeExecutor(3, judge=judge)).execute()
    ended = store.run(run.id)
    assert all(ended.times[name] >= first.times[name] > 0 for name in (DATABASE, WAITING, AVAILABLE, EVALUATING))
    # All of the wall time is accounted for, except the last transaction, which cannot contain its own time.
    assert sum(ended.times[name] for name in COORDINATOR) == pytest.approx(ended.elapsed, rel=0.05, abs=0.01)
    times = breakdown(ended, store.summary(run.id))
    assert times.workers[BUILDING] >= 20.0 and "filter quality" in times.workers and "training wide" in times.workers
    assert times.evaluating >= 80.0 and times.as_dict()["workers_wall"]["idle"] == times.idle


def test_building_within_building_counts_once() -> None:
    before = own_seconds()
    with building():
        with building():
            sum(range(200_000))
        assert own_seconds() == before
    assert 0 < own_seconds() - before < 5
    assert all_seconds() >= own_seconds()
