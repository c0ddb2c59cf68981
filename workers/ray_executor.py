"""Evaluation on Ray: one actor a worker, one task at a time on each, a deadline kept from outside.

The data set travels once, through Ray's object store. An actor that dies or overstays its deadline is
replaced, and its task comes back as failed; the search decides whether to try again.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from evonas.candidate import Evaluation
from evonas.errors import EvonasError, UsageError
from evonas.executor import Executor, Task
from evonas.plugins import Source, load
from evonas.workers.local_executor import failed, reason_of
from evonas.workers.ray_cluster import start

if TYPE_CHECKING:
    from evonas.workers.data import DataSet

_START_SECONDS = 300.0
"""How long the executor waits for a worker while none is running."""
_FAILED_STARTS = 5
"""Workers that may fail to start, one after the other, before the executor gives up."""


class _Worker:
    """Lives in an actor's process; holds the data set and nothing else."""

    def __init__(self, data: DataSet, files: Sequence[Source]) -> None:
        import torch

        from evonas.workers.allocator import keep_freed_memory

        for source in files:
            load(source)
        torch.set_num_threads(1)
        keep_freed_memory()
        self._data = data

    def ready(self) -> None:
        """Returns once the process is up and has its data."""

    def evaluate(self, task: Task) -> Evaluation:
        from evonas.workers.evaluate import evaluate

        return evaluate(task, self._data)


@dataclass(frozen=True)
class _Running:
    task: Task
    actor: Any  # ray's handles have no usable type
    started: float


class RayExecutor(Executor):
    """Workers on a Ray cluster, or on a Ray that is started here when none is given.

    Args:
        data: what candidates are trained on.
        workers: how many; by default one for each CPU of the cluster.
        address: of a Ray cluster; None starts one on this machine.
        deadline: seconds after which a task is stopped.
        gpus_per_worker: GPUs that Ray keeps for each worker, a share of one or a whole number. With any, there
            are by default as many workers as fit on the GPUs.
        files: of the user's own, which every worker loads.

    Raises:
        UsageError: when the address cannot be reached, or has too few CPUs or GPUs.
    """

    def __init__(
        self,
        data: DataSet,
        *,
        workers: int | None = None,
        address: str | None = None,
        deadline: float = 300.0,
        gpus_per_worker: float = 0.0,
        files: Sequence[Source] = (),
    ) -> None:
        self._owns_ray = not ray.is_initialized()
        self._dashboard = start(address, workers) if self._owns_ray else None
        try:
            self._workers = workers_that_fit(ray.cluster_resources(), workers, gpus_per_worker)
        except UsageError:
            if self._owns_ray:
                ray.shutdown()
            raise
        self._gpus_per_worker = gpus_per_worker
        self._deadline, self._files = deadline, tuple(files)
        self._data = ray.put(data)
        # Each actor is in one of three places; references are those of the call that is out.
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, _Running] = {}
        self._queue: deque[Task] = deque()
        self._failed_starts = 0
        self._waiting_since = monotonic()  # for a first worker
        for _ in range(self._workers):
            self._start_actor()

    @property
    def capacity(self) -> int:
        """The number of workers."""
        return self._workers

    @property
    def dashboard(self) -> str | None:
        """Ray's dashboard."""
        return self._dashboard

    def submit(self, task: Task) -> None:
        """Hands the task to an idle worker, or queues it."""
        self._queue.append(task)
        self._dispatch()

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """See `Executor`.

        Raises:
            EvonasError: when workers cannot be started.
        """
        if not self._running and not self._queue:
            return []
        if self._running:
            oldest = min(running.started for running in self._running.values())
            timeout = max(0.0, min(timeout, oldest + self._deadline - monotonic()))
        references = [*self._starting, *self._running]
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout, fetch_local=True)
        if ready:
            # Others may have finished in the meantime.
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=True)
        finished = []
        for reference in ready:
            if reference in self._starting:
                self._started(reference)
            else:
                finished.append(self._finished(reference))
        finished += self._overdue()
        self._dispatch()
        if self._running:
            self._waiting_since = monotonic()
        elif monotonic() - self._waiting_since > _START_SECONDS:
            raise EvonasError(
                f"Ray has started no worker in {_START_SECONDS:g} s: is other work holding the cluster's CPUs or GPUs? "
                "What is recorded is safe; resume when there is room"
            )
        return finished

    def close(self) -> None:
        """Stops workers, and Ray where it was started here."""
        if not ray.is_initialized():
            return
        for actor in self._actors():
            with contextlib.suppress(RayError):
                ray.kill(actor)
        self._starting, self._idle, self._running = {}, [], {}
        if self._owns_ray:
            ray.shutdown()

    def _actors(self) -> list[Any]:
        return [*self._starting.values(), *self._idle, *(running.actor for running in self._running.values())]

    def _start_actor(self) -> None:
        """Starts a worker. It gets tasks once it is up, so that its start is not part of a deadline."""
        # Ray retries nothing by itself: attempts are counted by the search.
        gpus = self._gpus_per_worker
        options: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
        actor = options(_Worker).remote(self._data, self._files)
        self._starting[actor.ready.remote()] = actor

    def _started(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        try:
            ray.get(reference)
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS:
                raise EvonasError(f"Ray's workers do not start: {reason_of(error)}; see `evonas doctor`") from None
            self._start_actor()
        else:
            self._failed_starts = 0
            self._idle.append(actor)

    def _dispatch(self) -> None:
        while self._queue and self._idle:
            task, actor = self._queue.popleft(), self._idle.pop()
            reference = actor.evaluate.options(name=task.label).remote(task)
            self._running[reference] = _Running(task, actor, monotonic())

    def _finished(self, reference: Any) -> Evaluation:
        running = self._running.pop(reference)
        try:
            evaluation: Evaluation = ray.get(reference)
        except RayActorError:
            self._replace(running.actor)
            return failed(running.task, running.started, "the worker died")
        except RayTaskError as error:
            self._idle.append(running.actor)
            return failed(running.task, running.started, reason_of(error.cause))
        except (RayError, GetTimeoutError) as error:
            self._replace(running.actor)
            return failed(running.task, running.started, reason_of(error))
        self._idle.append(running.actor)
        return evaluation

    def _overdue(self) -> list[Evaluation]:
        now = monotonic()
        late = [ref for ref, running in self._running.items() if now - running.started >= self._deadline]
        overdue = []
        for reference in late:
            running = self._running.pop(reference)
            self._replace(running.actor)
            overdue.append(failed(running.task, running.started, f"stopped at the deadline of {self._deadline:g} s"))
        return overdue

    def _replace(self, actor: Any) -> None:
        with contextlib.suppress(RayError):
            ray.kill(actor)
        self._start_actor()


def workers_that_fit(resources: Mapping[str, float], workers: int | None, gpus_per_worker: float) -> int:
    """How many workers there will be: as many as asked for, or as many as fit.

    Args:
        resources: of the cluster, as Ray counts them.
        workers: how many were asked for, if any were.
        gpus_per_worker: what each needs beside a CPU.

    Raises:
        UsageError: when not as many fit, or none.
    """
    cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
    if gpus_per_worker == 0.0:
        on_gpus = cpus
    elif gpus_per_worker < 1.0:
        # A share is of one GPU: two workers at 0.4 leave a fifth of each GPU idle. The small number is for
        # shares such as 0.1, ten of which should fit.
        on_gpus = gpus * int(1.0 / gpus_per_worker + 1e-6)
    else:
        on_gpus = gpus // int(gpus_per_worker)
    asked = "a worker was asked for" if workers is None else f"{workers} workers were asked for"
    if cpus == 0:
        raise UsageError(f"{asked}, and Ray has no CPU; join another cluster, or start one here")
    if (workers or cpus) > cpus:
        raise UsageError(f"{asked}, and Ray has {cpus} CPUs; use --workers 1 to {cpus}")
    if not 1 <= (workers or on_gpus) <= on_gpus:
        fewer = f"--workers 1 to {on_gpus}, or a smaller --gpus-per-worker" if on_gpus else "a machine with more GPUs"
        raise UsageError(f"{asked}, each with {gpus_per_worker:g} GPUs, and Ray has {gpus} GPUs; use {fewer}")
    return workers or min(cpus, on_gpus)
