"""The pool of workers of a Ray executor: starting them, lending them out, and replacing dead or used-up ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from evonas import __version__
from evonas.errors import EvonasError
from evonas.workers.executors.ray_worker import WorkerInfo

_FAILED_STARTS = 5
"""Consecutive workers that may fail to start before the pool gives up."""


@dataclass(eq=False, slots=True)
class PooledWorker:
    """A worker of the pool.

    Attributes:
        actor: Ray's handle of the actor, which has no usable type.
        node: Ray's id of the node that it runs on; empty until it has started.
        done: number of tasks that it has done.
    """

    actor: Any
    node: str = ""
    done: int = 0


class WorkerPool:
    """A fixed number of workers. Workers without room on the cluster wait in Ray's queue until a node joins.

    Args:
        size: number of workers.
        start: creates an actor of the given name.
        recycle_after: number of tasks after which a worker is replaced by a new one; None for never.
    """

    def __init__(self, size: int, start: Callable[[str], Any], recycle_after: int | None = None) -> None:
        self.size = size
        self._start, self._recycle_after = start, recycle_after
        self._made = 0
        self._failed_starts = 0
        # A worker on loan is in neither. The keys are references to the calls that return when a worker has started.
        self._starting: dict[Any, PooledWorker] = {}
        self._idle: list[PooledWorker] = []
        for _ in range(size):
            self._add()

    @property
    def starting(self) -> Mapping[Any, PooledWorker]:
        """Workers that have not started yet, by the reference that becomes ready when they have."""
        return self._starting

    @property
    def idle(self) -> int:
        """Number of workers that wait for a task."""
        return len(self._idle)

    def started(self, reference: Any) -> None:
        """Make a worker of `starting` available, or replace it if it failed to start.

        Raises:
            EvonasError: Workers fail to start repeatedly, or run a different version of evonas.
        """
        member = self._starting.pop(reference)
        try:
            info: WorkerInfo = ray.get(reference)
        except RayError as error:
            if not node_died(error):
                self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS:
                raise EvonasError(f"Ray's workers do not start: {cause_of(error)}; see `evonas doctor`") from None
            self.replace(member)
            return
        if info.version != __version__:
            raise EvonasError(
                f"node {info.node[:12]} has evonas {info.version}, this process {__version__}: "
                "install the same version everywhere, because scores of different versions are not comparable"
            )
        self._failed_starts = 0
        member.node = info.node
        self._idle.append(member)

    def take(self) -> PooledWorker | None:
        """Lend out an idle worker, if there is one; it is returned by `give_back` or `replace`."""
        return self._idle.pop() if self._idle else None

    def give_back(self, member: PooledWorker) -> None:
        """Return a worker after a task that it has survived."""
        member.done += 1
        if self._recycle_after is not None and member.done >= self._recycle_after:
            self.replace(member)
        else:
            self._idle.append(member)

    def replace(self, member: PooledWorker) -> None:
        """End a worker, if it has not ended yet, and start another."""
        _end(member)
        self._add()

    def close(self, lent: list[PooledWorker]) -> None:
        """End all workers; `lent` are those on loan."""
        for member in (*self._starting.values(), *self._idle, *lent):
            _end(member)
        self._starting, self._idle = {}, []

    def _add(self) -> None:
        self._made += 1
        # A worker gets tasks only once it has started, so that its start does not count towards a deadline.
        member = PooledWorker(self._start(f"evonas worker {self._made}"))
        self._starting[member.actor.ready.remote()] = member


def node_died(error: RayError) -> bool:
    """Return whether an error says, or may mean, that the worker's node has died and not just the worker."""
    return isinstance(error, ActorUnavailableError) or (
        isinstance(error, RayActorError) and "node has died" in str(error)
    )


def cause_of(error: RayError) -> str:
    """Return the last line of an error message of Ray, which is the error itself; the lines before are a traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _end(member: PooledWorker) -> None:
    with contextlib.suppress(RayError):
        ray.kill(member.actor)
