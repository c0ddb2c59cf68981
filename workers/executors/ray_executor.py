"""Evaluation on Ray: each worker is an actor that runs one task at a time, and the executor enforces deadlines.

The data set is sent to each node once, through Ray's object store. A worker that dies or exceeds its deadline is
replaced, and its task is returned as failed. If a worker's node was lost, its task is repeated.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from evonas.errors import EvonasError, UsageError
from evonas.evolution.executor import Executor, Load, Task
from evonas.settings.candidate import Evaluation
from evonas.settings.plugins import Source
from evonas.workers.executors.failures import describe_error, failed_evaluation
from evonas.workers.executors.ray_cluster import alive_nodes, connect
from evonas.workers.executors.ray_meter import RayMeter
from evonas.workers.executors.ray_pool import PooledWorker, WorkerPool, node_died
from evonas.workers.executors.ray_resources import WorkerResources, cluster_capacity
from evonas.workers.executors.ray_worker import start_worker

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet

_START_SECONDS = 300.0
"""How long tasks wait for a worker while none is running, before the executor gives up."""
_VERDICT_SECONDS = 60.0
"""How long Ray may take to report that a node is dead; after that, a broken connection means that the worker died. Ray
checks a node every 3 seconds, and declares it dead after 5 missed answers."""
_NODE_CHECK_SECONDS = 0.5
"""Time between two checks whether a node has died."""
_LOST_NODES = 3
"""Number of nodes that may die while running a task, before the task is assumed to be the cause."""


@dataclass(frozen=True, slots=True)
class _Running:
    task: Task
    worker: PooledWorker
    started: float
    broken: float = 0.0
    """Time of `monotonic` at which the connection to the worker broke."""


class RayExecutor(Executor):
    """Runs tasks on workers of a Ray cluster, or of a Ray that it starts on this machine.

    Args:
        data: the data set that candidates are trained on.
        workers: number of workers; by default as many as fit. On a cluster there may be more than fit: the
            others start when nodes join.
        address: address of a Ray cluster; None for that in the environment variable RAY_ADDRESS, which Ray sets
            for its jobs, or else a Ray on this machine.
        deadline: seconds after which a task is stopped, times the task's `deadlines`.
        gpus_per_worker: GPUs that Ray reserves for each worker, a share of one or a whole number.
        cpus_per_worker: CPUs that Ray reserves for each worker, and threads that the worker computes with.
        recycle_after: number of tasks after which a worker is replaced by a new process; None for never.
        device: the device that networks are trained on, "cpu" or "cuda".
        files: users' files that every worker loads.

    Raises:
        UsageError: The address cannot be reached, or there are too few CPUs or GPUs.
    """

    def __init__(
        self,
        data: DataSet,
        *,
        workers: int | None = None,
        address: str | None = None,
        deadline: float = 300.0,
        gpus_per_worker: float = 0.0,
        cpus_per_worker: int = 1,
        recycle_after: int | None = None,
        device: str = "cpu",
        files: Sequence[Source] = (),
    ) -> None:
        needs = WorkerResources(cpus_per_worker, gpus_per_worker)
        self._owns_ray = not ray.is_initialized()
        connection = connect(address, (workers or 0) * cpus_per_worker) if self._owns_ray else None
        self._dashboard = connection.dashboard if connection else None
        nodes = list(alive_nodes().values())
        try:
            grows = connection is None or connection.cluster
            self._cluster = cluster_capacity(nodes, workers, needs, grows=grows)
        except UsageError:
            if self._owns_ray:
                ray.shutdown()
            raise
        self._needs, self._deadline = needs, deadline
        reference, own = ray.put(data), tuple(files)
        self._pool = WorkerPool(
            self._cluster.workers, lambda name: start_worker(name, reference, needs, device, own), recycle_after
        )
        self._queue: deque[Task] = deque()
        self._running: dict[Any, _Running] = {}
        self._broken: list[_Running] = []  # the connection broke, and the node may have died
        self._nodes_lost: Counter[tuple[int, int, int]] = Counter()  # by key of the task and attempt
        self._waiting_since = monotonic()  # for any worker to start
        self._meter = RayMeter()

    @property
    def capacity(self) -> int:
        """The number of workers, including those that wait for room on the cluster."""
        return self._pool.size

    @property
    def dashboard(self) -> str | None:
        """The address of Ray's dashboard, HOST:PORT, if it has one."""
        return self._dashboard

    @property
    def note(self) -> str:
        """A message for the user if some workers have to wait for room on the cluster."""
        return self._cluster.note(self._needs)

    @property
    def meter(self) -> RayMeter:
        """The meter that records metrics in Ray."""
        return self._meter

    def load(self) -> Load:
        """Count queued and running tasks, and idle and starting workers."""
        return Load(len(self._queue), len(self._running), self._pool.idle, len(self._pool.starting))

    def submit(self, task: Task) -> None:
        """Give the task to an idle worker, or queue it."""
        if not self._has_tasks:
            self._waiting_since = monotonic()
        self._queue.append(task)
        self._dispatch()

    def allow(self, seconds: float) -> None:
        """Set the deadline, for tasks that are running too."""
        self._deadline = seconds

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Return the evaluations that have finished, after waiting up to `timeout` seconds for the first.

        Raises:
            EvonasError: Workers cannot be started.
        """
        if not self._has_tasks:
            timeout = 0.0  # there is nothing to wait for, but workers may have started
        if self._running:
            due = min(running.started + self._allowed(running.task) for running in self._running.values())
            timeout = max(0.0, min(timeout, due - monotonic()))
        if self._broken:
            timeout = min(timeout, _NODE_CHECK_SECONDS)
        finished: list[Evaluation] = []
        for reference in self._ready(timeout):
            if reference in self._pool.starting:
                self._pool.started(reference)
            else:
                finished += self._finished(reference)
        finished += self._overdue()
        finished += self._resolve_broken()
        self._dispatch()
        if self._running or not self._has_tasks:
            self._waiting_since = monotonic()
        elif monotonic() - self._waiting_since > _START_SECONDS:
            raise EvonasError(
                f"Ray has started no worker in {_START_SECONDS:g} s, although tasks are waiting. A worker needs "
                f"{self._needs}; other work may be using the cluster's CPUs or GPUs ({self._cluster.nodes} at the "
                "start). Everything recorded is safe: resume the run when there is room"
            )
        return finished

    def close(self) -> None:
        """Stop all workers, and Ray if it was started here."""
        if not ray.is_initialized():
            return
        self._pool.close([running.worker for running in self._running.values()])
        self._running = {}
        if self._owns_ray:
            ray.shutdown()

    @property
    def _has_tasks(self) -> bool:
        return bool(self._running or self._queue or self._broken)

    def _dispatch(self) -> None:
        while self._queue and (worker := self._pool.take()):
            task = self._queue.popleft()
            # Ray counts tasks by name in every process, forever: 35 KiB per name. So tasks share names, and only the
            # name of the process has the number of the candidate.
            reference = worker.actor.evaluate.options(name=task.group).remote(task)
            self._running[reference] = _Running(task, worker, monotonic())

    def _ready(self, timeout: float) -> Sequence[Any]:
        """Wait for a worker to start or a task to end, and return the references of all that have."""
        references = [*self._pool.starting, *self._running]
        if not references:
            sleep(timeout)
            return []
        ready, _ = ray.wait(references, num_returns=1, timeout=timeout, fetch_local=True)
        if ready:
            # Others may have finished in the meantime.
            ready, _ = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=True)
        return ready

    def _finished(self, reference: Any) -> Sequence[Evaluation]:
        """Return the evaluation of a task that has ended; nothing if the task is to be repeated."""
        running = self._running.pop(reference)
        try:
            evaluation: Evaluation = ray.get(reference)
        except RayActorError as error:
            self._pool.replace(running.worker)
            if node_died(error):
                self._broken.append(_Running(running.task, running.worker, running.started, monotonic()))
                return []
            return [failed_evaluation(running.task, running.started, "the worker died")]
        except RayTaskError as error:
            self._pool.give_back(running.worker)
            return [failed_evaluation(running.task, running.started, describe_error(error.cause))]
        except (RayError, GetTimeoutError) as error:
            self._pool.replace(running.worker)
            return [failed_evaluation(running.task, running.started, describe_error(error))]
        self._pool.give_back(running.worker)
        return [evaluation]

    def _overdue(self) -> list[Evaluation]:
        now, overdue = monotonic(), []
        late = [ref for ref, running in self._running.items() if now - running.started >= self._allowed(running.task)]
        for reference in late:
            running = self._running.pop(reference)
            reason = f"stopped at the deadline of {self._allowed(running.task):g} s"
            self._pool.replace(running.worker)
            overdue.append(failed_evaluation(running.task, running.started, reason))
        return overdue

    def _allowed(self, task: Task) -> float:
        """The seconds after which a task is stopped."""
        return self._deadline * task.deadlines

    def _resolve_broken(self) -> list[Evaluation]:
        """Repeat tasks whose nodes have died before others; tasks whose workers died on live nodes have failed."""
        if not self._broken:
            return []
        alive, undecided, over = alive_nodes(), [], []
        for running in self._broken:
            task = running.task
            if running.worker.node not in alive:
                self._nodes_lost[*task.key, task.attempt] += 1
                if self._nodes_lost[*task.key, task.attempt] < _LOST_NODES:
                    self._queue.appendleft(task)
                else:
                    over.append(failed_evaluation(task, running.started, f"{_LOST_NODES} nodes died under it"))
            elif monotonic() - running.broken > _VERDICT_SECONDS:
                over.append(failed_evaluation(task, running.started, "the worker died"))
            else:
                undecided.append(running)
        self._broken = undecided
        return over
