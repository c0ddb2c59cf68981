"""A fake Ray without processes: tests decide the result of each call, and the order of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from evonas import __version__
from evonas.workers.executors import ray_executor, ray_pool
from evonas.workers.executors.ray_worker import WorkerInfo

WORKER_DIED = ActorDiedError()
NODE_DIED = RayActorError(error_msg="The actor died because its node has died.")
UNAVAILABLE = ActorUnavailableError("the connection broke", None)


def task_error(cause: Exception) -> RayTaskError:
    """Return the error that Ray raises in place of an exception of the call."""
    return RayTaskError("evaluate", "its traceback", cause, proctitle="worker", pid=1, ip="127.0.0.1")


class Reference:
    """A reference to a call of an actor."""

    def __init__(self, actor: FakeActor, task: Any = None) -> None:
        self.actor, self.task = actor, task


class _Method:
    def __init__(self, actor: FakeActor) -> None:
        self._actor = actor

    def options(self, **_: object) -> _Method:
        return self

    def remote(self, *task: Any) -> Reference:
        made = Reference(self._actor, *task)
        self._actor.calls.append(made)
        return made


class FakeActor:
    """A handle of an actor, which records its calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Reference] = []
        self.ready = self.evaluate = _Method(self)


class FakeRay:
    """Replaces the module `ray`."""

    def __init__(self) -> None:
        self.actors: list[FakeActor] = []
        self.killed: list[str] = []
        self.values: dict[Reference, Any] = {}
        self.timeouts: list[float] = []

    def start(self, name: str, *_: object) -> FakeActor:
        """Create an actor, like `start_worker`."""
        self.actors.append(FakeActor(name))
        return self.actors[-1]

    def up(self, reference: Reference, node: str = "node", version: str = __version__) -> None:
        """Report that the worker of this reference has started."""
        self.values[reference] = WorkerInfo(version, node)

    def get(self, reference: Reference) -> Any:
        value = self.values.pop(reference)
        if isinstance(value, Exception):
            raise value
        return value

    def wait(self, references: Sequence[Reference], *, timeout: float, **_: object) -> tuple[list[Any], list[Any]]:
        self.timeouts.append(timeout)
        done = [one for one in references if one in self.values]
        return done, [one for one in references if one not in self.values]

    def kill(self, actor: FakeActor) -> None:
        self.killed.append(actor.name)

    def put(self, data: object) -> object:
        return data

    def is_initialized(self) -> bool:
        return True


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()
    monkeypatch.setattr(ray_pool, "ray", made)
    monkeypatch.setattr(ray_executor, "ray", made)
    monkeypatch.setattr(ray_executor, "start_worker", made.start)
    return made
