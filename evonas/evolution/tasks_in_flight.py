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
    """The latest attempt at each task that has not been evaluated, by `Task.key`.

    Args:
        submit: passes a task to the executor.
        max_attempts: how often a task is attempted if it fails.
        late_success: whether an earlier attempt than the latest may still succeed. A search takes it, for the result is
            the same; where numbers of tasks come again with other tasks, it may be the result of another.
    """

    def __init__(self, submit: Callable[[Task], None], max_attempts: int, *, late_success: bool = False) -> None:
        self._submit, self._max_attempts, self._late_success = submit, max_attempts, late_success
        self._tasks: dict[tuple[int, int], Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def add(self, task: Task) -> None:
        """Submit a task."""
        self._tasks[task.key] = task
        self._submit(task)

    def take(self, evaluation: Evaluation) -> Task | None:
        """The task that an evaluation answers, which is then no longer in flight; None for a duplicate.

        An attempt that is reported twice, for instance because a worker was lost after its result had arrived, is a
        duplicate: its task has been evaluated, or a later attempt is in flight.
        """
        task = self._tasks.get(evaluation.key)
        if task is None:
            return None
        if evaluation.attempts < task.attempt and (evaluation.status is Status.FAILED or not self._late_success):
            return None
        return self._tasks.pop(evaluation.key)

    def retry(self, task: Task, evaluation: Evaluation) -> bool:
        """Submit the next attempt at a task if its evaluation failed and attempts are left; whether it did."""
        if evaluation.status is not Status.FAILED or task.attempt >= self._max_attempts:
            return False
        self.add(replace(task, attempt=task.attempt + 1))
        return True
