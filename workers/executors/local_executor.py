"""Evaluation in the calling process, one task at a time: for debugging, and where Ray is not wanted."""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

import torch

from evonas.evolution.executor import Executor, Load, Task
from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.trial.evaluate import evaluate_task

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet


class LocalExecutor(Executor):
    """Runs each task inside `poll`. Deadlines are not enforced: nothing stands outside to enforce them."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._queue: deque[Task] = deque()
        # One thread, as on a worker: the same sums in the same order give the same scores.
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        keep_freed_memory()

    @property
    def capacity(self) -> int:
        """One."""
        return 1

    def load(self) -> Load:
        """Tasks wait, and are carried out inside `poll`."""
        return Load(queued=len(self._queue))

    def submit(self, task: Task) -> None:
        """Queues the task."""
        self._queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Carries out the oldest task."""
        if not self._queue:
            return []
        task, started = self._queue.popleft(), monotonic()
        try:
            return [evaluate_task(task, self._data)]
        except Exception as error:
            return [failed(task, started, reason_of(error))]

    def close(self) -> None:
        """Forgets what is queued."""
        self._queue.clear()
        torch.set_num_threads(self._threads)


def failed(task: Task, started: float, reason: str) -> Evaluation:
    """The evaluation of a task that failed, with the time since `started` (of `monotonic`) counted as spent."""
    spent = monotonic() - started
    return Evaluation(
        task.index, Status.FAILED, seconds={FAILED_ATTEMPTS: spent}, reason=reason, attempts=task.attempt, wall=spent
    )


def reason_of(error: BaseException) -> str:
    """An error and the place where it arose, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300] + place
