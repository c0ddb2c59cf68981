"""The workers of a Ray executor: starting, idle, at work, and replaced when they die or have done enough."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from evonas import __version__
from evonas.errors import EvonasError
from evonas.workers.executors.ray_worker import Greeting

_FAILED_STARTS = 5
"""Workers that may fail to start, one after the other, before the pool gives up."""


@dataclass(eq=False, slots=True)
class PooledWorker:
    """A worker of the pool.

    Attributes:
        actor: Ray's handle, which has no usable type.
        node: Ray's id of the node that it runs on, once it is up.
        done: tasks that it has done.
    """

    actor: Any
    node: str = ""
    done: int = 0


class Pool:
    """A fixed number of workers. What has no room on the cluster waits there until a node joins.

    Args:
        size: how many.
        start: makes an actor, given its name.
        recycle_after: tasks after which a worker makes way for a new one; None for never.
    """

    def __init__(self, size: int, start: Callable[[str], Any], recycle_after: int | None = None) -> None:
        self.size = size
        self._start, self._recycle_after = start, recycle_after
        self._made = 0
        self._failed_starts = 0
        # A worker that was handed out is in neither; references are of the call that tells when it is up.
        self._starting: dict[Any, PooledWorker] = {}
        self._idle: list[PooledWorker] = []
        for _ in range(size):
            self._add()

    @property
    def starting(self) -> Mapping[Any, PooledWorker]:
        """Workers that are not up yet, by the reference that is ready when they are."""
        return self._starting

    @property
    def idle(self) -> int:
        """How many wait for a task."""
        return len(self._idle)

    def started(self, reference: Any) -> None:
        """Takes note of a worker of `starting` that is up, or failed to come up and is replaced.

        Raises:
            EvonasError: when workers fail to start again and again, or run another version of evonas.
        """
        member = self._starting.pop(reference)
        try:
            greeting: Greeting = ray.get(reference)
        except RayError as error:
            if not node_died(error):
                self._failed_starts += 1
            if self._failed_starts > _FAILED_STARTS:
                raise EvonasError(f"Ray's workers do not start: {cause_of(error)}; see `evonas doctor`") from None
            self.replace(member)
            return
        if greeting.version != __version__:
            raise EvonasError(
                f"node {greeting.node[:12]} has evonas {greeting.version}, this process {__version__}: "
                "install one version everywhere, because scores of different versions do not compare"
            )
        self._failed_starts = 0
        member.node = greeting.node
        self._idle.append(member)

    def take(self) -> PooledWorker | None:
        """An idle worker, which comes back by `give_back` or `replace`."""
        return self._idle.pop() if self._idle else None

    def give_back(self, member: PooledWorker) -> None:
        """After a task that the worker has survived."""
        member.done += 1
        if self._recycle_after is not None and member.done >= self._recycle_after:
            self.replace(member)
        else:
            self._idle.append(member)

    def replace(self, member: PooledWorker) -> None:
        """Ends a worker, if it has not ended yet, and starts another."""
        _end(member)
        self._add()

    def close(self, taken: list[PooledWorker]) -> None:
        """Ends all workers, `taken` being those that are handed out."""
        for member in (*self._starting.values(), *self._idle, *taken):
            _end(member)
        self._starting, self._idle = {}, []

    def _add(self) -> None:
        self._made += 1
        # It gets tasks once it is up, so that its start is not part of a deadline.
        member = PooledWorker(self._start(f"evonas worker {self._made}"))
        self._starting[member.actor.ready.remote()] = member


def node_died(error: RayError) -> bool:
    """Whether Ray says, or it may be, that not the worker alone has ended, but its machine."""
    return isinstance(error, ActorUnavailableError) or (
        isinstance(error, RayActorError) and "node has died" in str(error)
    )


def cause_of(error: RayError) -> str:
    """The last line of what Ray says, where the error itself is: those before are its ways to the worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def _end(member: PooledWorker) -> None:
    with contextlib.suppress(RayError):
        ray.kill(member.actor)
