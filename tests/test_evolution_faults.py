"""The search loop when workers fail, results arrive twice, and runs are interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.judging.floors import TurnedAway
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunStatus
from evonas.settings.candidate import Candidate, Evaluation, Status
from tests.fakes import ANCHORS, FakeExecutor, config, outcome, table
from tests.test_evolution import searched

REFERENCES = ("bn-relu", "evonorm-s0")


@pytest.fixture(scope="module")
def undisturbed() -> list[tuple[object, ...]]:
    return table(*searched(config(), FakeExecutor(1)))


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_failure_is_tried_again_and_then_recorded(attempts: int) -> None:
    executor = FakeExecutor(3)
    store, run = searched(config(max_attempts=attempts), executor)
    failed = [e for e in store.evaluations(run.id) if e.status is Status.FAILED]
    assert failed
    for evaluation in store.evaluations(run.id):
        tried = [task.attempt for task in executor.submitted if task.index == evaluation.index]
        expected = attempts if evaluation.status is Status.FAILED else 1
        assert tried == list(range(1, expected + 1)) and evaluation.attempts == expected
    assert {e.reason for e in failed} == {"out of memory"}


def test_a_success_after_a_failure_counts_and_changes_nothing_else(undisturbed: list[tuple[object, ...]]) -> None:
    def flaky(task: Task) -> Evaluation:
        if task.attempt < 3 and task.index % 3 == 0:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return outcome(task)

    store, run = searched(config(max_attempts=3), FakeExecutor(4, 1, flaky))
    assert [row[:6] for row in table(store, run)] == [row[:6] for row in undisturbed]
    for e, row in zip(store.evaluations(run.id), undisturbed, strict=True):
        assert (e.status, list(e.scores.items())) == row[6][:2]  # type: ignore[index]
        if e.status is not Status.FAILED:
            assert e.attempts == (3 if e.index % 3 == 0 else 1)


class Stutter(FakeExecutor):
    """Returns results twice, at once and later, and results of tasks that were never submitted."""

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        new = list(super().poll(timeout))
        self.given = getattr(self, "given", [])
        stale = self._rng.sample(self.given, min(2, len(self.given)))
        self.given += new
        stranger = Evaluation(9999, Status.SCORED, dict.fromkeys(ANCHORS, 1.0))
        return [*stale, *new, stranger, replace(stranger, index=-77), *new]


@pytest.mark.parametrize("capacity", [1, 5])
def test_a_result_that_arrives_twice_counts_once(undisturbed: list[tuple[object, ...]], capacity: int) -> None:
    executor = Stutter(capacity)
    assert table(*searched(config(), executor)) == undisturbed
    attempts = [(task.index, task.attempt) for task in executor.submitted]
    assert len(set(attempts)) == len(attempts)


@pytest.mark.parametrize("capacity", [1, 5])
def test_a_failure_that_arrives_twice_costs_one_attempt(undisturbed: list[tuple[object, ...]], capacity: int) -> None:
    """All first attempts fail: a duplicate of the failure must not replace the second attempt's success."""

    def flaky(task: Task) -> Evaluation:
        if task.attempt == 1:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=1)
        return outcome(task)

    store, run = searched(config(), Stutter(capacity, 3, flaky))
    found = [(e.status, e.attempts) for e in store.evaluations(run.id)]
    assert found == [(row[6][0], 2) for row in undisturbed]  # type: ignore[index]


class Interrupter:
    """Presses Ctrl-C at the n-th event of a kind."""

    def __init__(self, event: str, countdown: int) -> None:
        self.event, self.countdown = event, countdown

    def _happened(self, event: str) -> None:
        self.countdown -= event == self.event
        if event == self.event and self.countdown == 0:
            raise KeyboardInterrupt

    def drawn(self, candidate: Candidate) -> None:
        self._happened("drawn")

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        self._happened("evaluated")

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        self._happened("referenced")

    def turned_away(self, layer: TurnedAway) -> None:
        self._happened("turned away")

    def tick(self, pending: int) -> None:
        self._happened("tick")


MOMENTS = [("drawn", 1), ("referenced", 1), ("evaluated", 1), ("drawn", 9), ("evaluated", 7), ("tick", 5)]


@pytest.mark.parametrize(("choices", "twins"), [(1, 0.02), (4, 0.02), (4, 0.0)])
def test_interrupted_and_resumed_is_as_if_never_stopped(choices: int, twins: float) -> None:
    settings = config(budget=80, choices=choices, twins=twins, lookahead=5)
    store = MemoryStore()
    run = store.create_run(settings, {})
    for number, moment in enumerate(MOMENTS):
        run = store.run(run.id)
        search = Search(run, store, FakeExecutor(1 + number, number), [Interrupter(*moment)], REFERENCES)
        assert search.execute() is RunStatus.INTERRUPTED
        assert store.run(run.id).status is RunStatus.INTERRUPTED
        assert store.run(run.id).elapsed > run.elapsed
    assert len(table(store, run)) < 80  # the last part remains
    assert Search(store.run(run.id), store, FakeExecutor(3), (), REFERENCES).execute() is RunStatus.FINISHED
    assert table(store, run) == table(*searched(settings, FakeExecutor(1)))


class InterruptedStore(MemoryStore):
    """Ctrl-C arrives at one call of `record`, before or after it took effect."""

    countdown, before = 0, False

    def record(self, run_id: int, **what: object) -> None:
        self.countdown -= 1
        if self.countdown == 0 and self.before:
            raise KeyboardInterrupt
        super().record(run_id, **what)  # type: ignore[arg-type]
        if self.countdown == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("before", [True, False])
def test_ctrl_c_while_recording(undisturbed: list[tuple[object, ...]], before: bool) -> None:
    store = InterruptedStore()
    store.before = before
    run = store.create_run(config(), {})
    for number in (1, 2, 3, 10, 17):
        store.countdown = number
        assert Search(run, store, FakeExecutor(2, number)).execute() is RunStatus.INTERRUPTED
    store.countdown = 0
    assert Search(run, store, FakeExecutor(2)).execute() is RunStatus.FINISHED
    assert table(store, run) == undisturbed


@pytest.mark.parametrize("place", ["submit", "poll"])
def test_ctrl_c_inside_the_executor_is_recorded(place: str) -> None:
    class Rude(FakeExecutor):
        def submit(self, task: Task) -> None:
            if place == "submit":
                raise KeyboardInterrupt
            super().submit(task)

        def poll(self, timeout: float) -> Sequence[Evaluation]:
            raise KeyboardInterrupt

    store = MemoryStore()
    run = store.create_run(config(), {})
    for references in (REFERENCES, ()):
        assert Search(run, store, Rude(), (), references).execute() is RunStatus.INTERRUPTED
        assert store.run(run.id).status is RunStatus.INTERRUPTED


def test_a_fault_of_ours_is_raised_and_the_run_can_be_resumed(undisturbed: list[tuple[object, ...]]) -> None:
    def broken(task: Task) -> Evaluation:
        raise ZeroDivisionError

    store = MemoryStore()
    run = store.create_run(config(), {})
    with pytest.raises(ZeroDivisionError):
        Search(run, store, FakeExecutor(2, 1, broken)).execute()
    assert store.run(run.id).status is RunStatus.INTERRUPTED
    Search(store.run(run.id), store, FakeExecutor(2)).execute()
    assert table(store, run) == undisturbed


def test_references_are_scored_once(undisturbed: list[tuple[object, ...]]) -> None:
    executor = FakeExecutor(2)
    store, run = searched(config(), executor, REFERENCES)
    assert set(run.references) == set(REFERENCES)
    sent = [task for task in executor.submitted if task.index < 0]
    assert len(sent) == 2 and not any(task.filtered for task in sent)
    assert [task.linear is None for task in sent] == [False, True]  # batch normalisation has a linear form
    assert table(store, run) == undisturbed  # they do not take part in evolution
    again = FakeExecutor(2)
    Search(run, store, again, (), (*REFERENCES, "dyt")).execute()
    assert len(again.submitted) == 1 and set(store.run(run.id).references) == {*REFERENCES, "dyt"}


def test_a_reference_that_fails_is_reported_and_not_recorded() -> None:
    heard: list[Evaluation] = []

    class Watch(Interrupter):
        def referenced(self, layer: str, evaluation: Evaluation) -> None:
            assert layer == "bn-relu"
            heard.append(evaluation)

    def judge(task: Task) -> Evaluation:
        return replace(outcome(task), status=Status.FAILED, scores={}, reason="no") if task.index < 0 else outcome(task)

    store = MemoryStore()
    run = store.create_run(config(budget=3), {})
    Search(run, store, FakeExecutor(1, 1, judge), [Watch("never", 0)], ["bn-relu"]).execute()
    assert [e.reason for e in heard] == ["no"]
    assert store.run(run.id).references == {}
    assert len(list(store.evaluations(run.id))) == 3
