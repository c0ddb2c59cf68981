"""Evaluation on Ray: one actor a worker, one task at a time on each, a deadline kept from outside.

The data set travels once to each node, through Ray's object store. A worker that dies or overstays its
deadline is replaced, and its task comes back as failed; one whose node was lost has its task done again.
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
from evonas.workers.executors.local_executor import failed, reason_of
from evonas.workers.executors.ray_cluster import alive_nodes, start
from evonas.workers.executors.ray_meter import RayMeter
from evonas.workers.executors.ray_pool import Pool, PooledWorker, node_died
from evonas.workers.executors.ray_resources import Needs, room_for
from evonas.workers.executors.ray_worker import start_worker

if TYPE_CHECKING:
    from evonas.workers.data.dataset import DataSet

_START_SECONDS = 300.0
"""How long the executor waits for a worker while none is running."""
_VERDICT_SECONDS = 60.0
"""How long Ray may take to say that a node is dead, after which a broken connection is the worker's fault. It asks a
node every 3 seconds and believes in its death after 5 silences."""
_LOOK_SECONDS = 0.5  # between two looks whether a node has died
_LOST_NODES = 3
"""Nodes that may die under a task, which is then taken to be what kills them."""


@dataclass(frozen=True, slots=True)
class _Running:
    task: Task
    worker: PooledWorker
    started: float
    broken: float = 0.0
    """When the connection to the worker broke."""


class RayExecutor(Executor):
    """Workers on a Ray cluster, or on a Ray that is started here when none is given.

    Args:
        data: what candidates are trained on.
        workers: how many; by default as many as fit. On a cluster there may be more than fit: the others
            start as nodes join.
        address: of a Ray cluster; None for that of the environment variable RAY_ADDRESS, which jobs of
            Ray have, or a Ray on this machine.
        deadline: seconds after which a task is stopped.
        gpus_per_worker: GPUs that Ray keeps for each worker, a share of one or a whole number.
        cpus_per_worker: CPUs likewise; a worker computes with as many threads.
        recycle_after: tasks after which a worker is replaced by a new process; None for never.
        device: where networks are trained, "cpu" or "cuda".
        files: of the user's own, which every worker loads.

    Raises:
        UsageError: when the address cannot be reached, or there are too few CPUs or GPUs.
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
        needs = Needs(cpus_per_worker, gpus_per_worker)
        self._owns_ray = not ray.is_initialized()
        joined = start(address, (workers or 0) * cpus_per_worker) if self._owns_ray else None
        self._dashboard = joined.dashboard if joined else None
        nodes = list(alive_nodes().values())
        try:
            self._room = room_for(nodes, workers, needs, grows=joined is None or joined.cluster)
        except UsageError:
            if self._owns_ray:
                ray.shutdown()
            raise
        self._needs, self._deadline = needs, deadline
        reference, own = ray.put(data), tuple(files)
        self._pool = Pool(
            self._room.workers, lambda name: start_worker(name, reference, needs, device, own), recycle_after
        )
        self._queue: deque[Task] = deque()
        self._running: dict[Any, _Running] = {}
        self._broken: list[_Running] = []  # their nodes may have died
        self._nodes_lost: Counter[tuple[int, int]] = Counter()  # by index and attempt
        self._waiting_since = monotonic()  # for a first worker
        self._meter = RayMeter()

    @property
    def capacity(self) -> int:
        """The number of workers, whether or not they have found room."""
        return self._pool.size

    @property
    def dashboard(self) -> str | None:
        """Ray's dashboard."""
        return self._dashboard

    @property
    def note(self) -> str:
        """What to know where workers wait for room."""
        return self._room.note(self._needs)

    @property
    def meter(self) -> RayMeter:
        """Ray's metrics."""
        return self._meter

    def load(self) -> Load:
        """See `Executor`."""
        return Load(len(self._queue), len(self._running), self._pool.idle, len(self._pool.starting))

    def submit(self, task: Task) -> None:
        """Hands the task to an idle worker, or queues it."""
        if not self._tasks_are_out:
            self._waiting_since = monotonic()
        self._queue.append(task)
        self._dispatch()

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """See `Executor`.

        Raises:
            EvonasError: when workers cannot be started.
        """
        if not self._tasks_are_out:
            timeout = 0.0  # there is nothing to wait for, but workers may have come up
        if self._running:
            oldest = min(running.started for running in self._running.values())
            timeout = max(0.0, min(timeout, oldest + self._deadline - monotonic()))
        if self._broken:
            timeout = min(timeout, _LOOK_SECONDS)
        finished: list[Evaluation] = []
        for reference in self._ready(timeout):
            if reference in self._pool.starting:
                self._pool.started(reference)
            else:
                finished += self._finished(reference)
        finished += self._overdue()
        finished += self._judge_broken()
        self._dispatch()
        if self._running or not self._tasks_are_out:
            self._waiting_since = monotonic()
        elif monotonic() - self._waiting_since > _START_SECONDS:
            raise EvonasError(
                f"Ray has started no worker in {_START_SECONDS:g} s, each of which needs {self._needs}: is other work "
                f"holding the cluster's CPUs or GPUs ({self._room.nodes} at the start)? "
                "What is recorded is safe; resume when there is room"
            )
        return finished

    def close(self) -> None:
        """Stops workers, and Ray where it was started here."""
        if not ray.is_initialized():
            return
        self._pool.close([running.worker for running in self._running.values()])
        self._running = {}
        if self._owns_ray:
            ray.shutdown()

    @property
    def _tasks_are_out(self) -> bool:
        return bool(self._running or self._queue or self._broken)

    def _dispatch(self) -> None:
        while self._queue and (worker := self._pool.take()):
            task = self._queue.popleft()
            # Ray counts tasks by name in every process, for ever: 35 KiB a name. That of the process has the number.
            reference = worker.actor.evaluate.options(name=task.group).remote(task)
            self._running[reference] = _Running(task, worker, monotonic())

    def _ready(self, timeout: float) -> Sequence[Any]:
        """References of workers that are up and of tasks that have ended, waiting for the first."""
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
        """The evaluation; none where the task is done again."""
        running = self._running.pop(reference)
        try:
            evaluation: Evaluation = ray.get(reference)
        except RayActorError as error:
            self._pool.replace(running.worker)
            if node_died(error):
                self._broken.append(_Running(running.task, running.worker, running.started, monotonic()))
                return []
            return [failed(running.task, running.started, "the worker died")]
        except RayTaskError as error:
            self._pool.give_back(running.worker)
            return [failed(running.task, running.started, reason_of(error.cause))]
        except (RayError, GetTimeoutError) as error:
            self._pool.replace(running.worker)
            return [failed(running.task, running.started, reason_of(error))]
        self._pool.give_back(running.worker)
        return [evaluation]

    def _overdue(self) -> list[Evaluation]:
        now = monotonic()
        late = [ref for ref, running in self._running.items() if now - running.started >= self._deadline]
        overdue = []
        for reference in late:
            running = self._running.pop(reference)
            self._pool.replace(running.worker)
            overdue.append(failed(running.task, running.started, f"stopped at the deadline of {self._deadline:g} s"))
        return overdue

    def _judge_broken(self) -> list[Evaluation]:
        """Queues tasks whose nodes have died, in front; those whose workers died on living nodes have failed."""
        if not self._broken:
            return []
        alive, undecided, over = alive_nodes(), [], []
        for running in self._broken:
            task = running.task
            if running.worker.node not in alive:
                self._nodes_lost[task.index, task.attempt] += 1
                if self._nodes_lost[task.index, task.attempt] < _LOST_NODES:
                    self._queue.appendleft(task)
                else:
                    over.append(failed(task, running.started, f"{_LOST_NODES} nodes died under it"))
            elif monotonic() - running.broken > _VERDICT_SECONDS:
                over.append(failed(task, running.started, "the worker died"))
            else:
                undecided.append(running)
        self._broken = undecided
        return over
