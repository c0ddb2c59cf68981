"""A list of trainings: each one runs to its end, failures are tried again, and progress is reported."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from evonas.errors import UsageError
from evonas.evolution.executor import Task
from evonas.evolution.trainings import carry_out, training_task
from evonas.language.graph import Graph
from evonas.language.zoo import ROWS, zoo
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from tests.fakes import FakeExecutor

SETTINGS = EvaluationProtocol(anchors=("wide",), seed=5)
TASKS = [training_task("evonorm-s0", index, SETTINGS) for index in range(6)]


class Left:
    def __init__(self) -> None:
        self.pending: list[int] = []

    def tick(self, pending: int) -> None:
        self.pending.append(pending)


@pytest.mark.parametrize(
    ("index", "attempt", "label", "group"),
    [
        (0, 1, "candidate 0: wide", "candidates 0 to 99: wide"),
        (199, 2, "candidate 199 (attempt 2): wide", "candidates 100 to 199: wide"),
        (-1, 1, "reference 1: wide", "references: wide"),
    ],
)
def test_what_a_task_is_called(index: int, attempt: int, label: str, group: str) -> None:
    task = Task(index, attempt, "", SETTINGS)
    assert (task.label, task.group) == (label, group)


def test_a_task_says_how_its_layer_is_trained() -> None:
    task = training_task("bn-relu", 3, SETTINGS, split="test", held_out=0.25)
    assert (task.index, task.attempt, task.protocol, task.split, task.held_out) == (3, 1, SETTINGS, "test", 0.25)
    assert not task.filtered
    assert Graph.from_json(task.graph) == zoo["bn-relu"]
    assert task.linear is not None and Graph.from_json(task.linear) == ROWS["bn-relu"].linear_graph
    drawn = training_task(zoo["bn-relu"], 0, SETTINGS)  # a graph is placed as a candidate is
    assert (drawn.linear, drawn.held_out, drawn.split, drawn.filtered) == (None, 0.0, "validation", False)
    with pytest.raises(UsageError, match="'bn-reul' is neither"):
        training_task("bn-reul", 0, SETTINGS)


def test_each_task_is_evaluated_once_and_progress_is_reported() -> None:
    left = Left()
    found = list(carry_out(TASKS, FakeExecutor(3, 1), progress=left, later=10))
    assert sorted(e.index for e in found) == list(range(6))
    assert left.pending[0] == 16 and left.pending[-1] == 10
    assert left.pending == sorted(left.pending, reverse=True)


def test_nothing_to_do_is_done_at_once() -> None:
    assert list(carry_out([], FakeExecutor(1))) == []


@pytest.mark.parametrize(("max_attempts", "works"), [(1, False), (2, False), (3, True)])
def test_a_failure_is_tried_again_and_then_reported(max_attempts: int, works: bool) -> None:
    def flaky(task: Task) -> Evaluation:
        if task.index == 2 and task.attempt < 3:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=task.attempt)
        return Evaluation(task.index, Status.SCORED, {"wide": 0.5}, attempts=task.attempt)

    executor = FakeExecutor(2, 4, flaky)
    found = {e.index: e for e in carry_out(TASKS, executor, max_attempts=max_attempts)}
    assert len(executor.submitted) == 5 + min(3, max_attempts)
    assert found[2].status is (Status.SCORED if works else Status.FAILED)
    assert found[2].attempts == max_attempts
    assert all(found[index].attempts == 1 for index in found if index != 2)


def test_a_result_that_comes_twice_counts_once() -> None:
    class Twice(FakeExecutor):
        def poll(self, timeout: float) -> Sequence[Evaluation]:
            return [found for found in super().poll(timeout) for _ in range(2)]

    def flaky(task: Task) -> Evaluation:
        if task.attempt == 1:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=1)
        return Evaluation(task.index, Status.SCORED, {"wide": 0.5}, attempts=task.attempt)

    # A failure that is returned twice counts once: the second attempt is still to come.
    executor = Twice(2, 3, flaky)
    found = list(carry_out(TASKS, executor, max_attempts=2))
    assert {e.status for e in found} == {Status.SCORED} and len(found) == 6 and len(executor.submitted) == 12
    assert sorted(e.index for e in carry_out(TASKS, Twice(2, 3))) == list(range(6))


def test_a_late_success_of_an_earlier_attempt_is_not_taken_for_the_latest() -> None:
    """Lists of trainings use the same numbers again, so it may be the result of another training."""

    class Late(FakeExecutor):
        def poll(self, timeout: float) -> Sequence[Evaluation]:
            late = [Evaluation(0, Status.SCORED, {"wide": 0.25}, attempts=1)]
            return [*(late if any(t.attempt == 2 for t in self.submitted) else []), *super().poll(timeout)]

    def flaky(task: Task) -> Evaluation:
        if task.attempt == 1:
            return Evaluation(task.index, Status.FAILED, reason="the worker died", attempts=1)
        return Evaluation(task.index, Status.SCORED, {"wide": 0.5}, attempts=2)

    (found,) = carry_out(TASKS[:1], Late(1, 3, flaky), max_attempts=2)
    assert found.scores == {"wide": 0.5}
