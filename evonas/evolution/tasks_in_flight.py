"""The tasks that an executor has, each of which is attempted again if it fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from evonas.settings.candidate import Status

if TYPE_CHECKING:
    from evonas.evolution.executor import Task
    from evonas.settings.candidate import Evaluation


class TasksInFlight:
    """The latest attempt at each task that has not been evaluated, by index.

    Args:
        submit: passes a task to the executor.
        max_attempts: how often a task is attempted if it fails.
    """

    def __init__(self, submit: Callable[[Task], None], max_attempts: int) -> None:
        self._submit, self._max_attempts = submit, max_attempts
        self._tasks: dict[int, Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Submit a task."""
        self._tasks[task.index] = task
        self._submit(task)

    def take(self, evaluation: Evaluation) -> Task | None:
        """The task that an evaluation answers, which is then no longer in flight; None for a duplicate.

        An executor may report an attempt twice, for instance when a worker is lost after its result has arrived: the
        task has then been evaluated, or a failure is one of an earlier attempt than the latest.
        """
        task = self._tasks.get(evaluation.index)
        if task is None or (evaluation.status is Status.FAILED and evaluation.attempts < task.attempt):
            return None
        return self._tasks.pop(evaluation.index)

    def retry(self, task: Task, evaluation: Evaluation) -> bool:
        """Submit the next attempt at a task if its evaluation failed and attempts are left; whether it did."""
        if evaluation.status is not Status.FAILED or task.attempt >= self._max_attempts:
            return False
        self.add(replace(task, attempt=task.attempt + 1))
        return True
