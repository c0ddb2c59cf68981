"""Evaluation in the calling process, one task at a time: for debugging, and for use without Ray."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING

import torch

from evonas.evolution.executor import Executor, Load, Task
from evonas.settings.candidate import Evaluation
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.executors.failures import describe_error, failed_evaluation
from evonas.workers.trial.evaluate import evaluate_task

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet


class LocalExecutor(Executor):
    """Runs each task inside `poll`. Deadlines are not enforced, because no other process could enforce them."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._queue: deque[Task] = deque()
        # One thread, as on a worker, so that sums are added in the same order and scores are the same.
        self._threads = torch.get_num_threads()
        torch.set_num_threads(1)
        keep_freed_memory()

    @property
    def capacity(self) -> int:
        """The number of workers, which is one."""
        return 1

    def load(self) -> Load:
        """Count the queued tasks; none is running outside `poll`."""
        return Load(queued=len(self._queue))

    def submit(self, task: Task) -> None:
        """Queue the task."""
        self._queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Evaluate the oldest task in the queue."""
        if not self._queue:
            return []
        task, started = self._queue.popleft(), monotonic()
        try:
            return [evaluate_task(task, self._data)]
        except Exception as error:
            return [failed_evaluation(task, started, describe_error(error))]

    def close(self) -> None:
        """Drop the queued tasks, and restore the number of threads."""
        self._queue.clear()
        torch.set_num_threads(self._threads)
