"""The decisions of the Ray executor, tested without Ray: deadlines, dead workers, lost nodes, missing room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ray.exceptions import RayError

from evonas.errors import EvonasError, UsageError
from evonas.evolution.executor import Load, Task
from evonas.settings.candidate import FAILED_ATTEMPTS, Evaluation, Status
from evonas.workers.executors import ray_executor
from evonas.workers.executors.ray_executor import RayExecutor
from tests.fake_ray import NODE_DIED, UNAVAILABLE, WORKER_DIED, FakeRay, Reference, fake_ray, task_error
from tests.test_executors import task

__all__ = ["fake_ray"]


@dataclass
class Cluster:
    """A fake Ray, its nodes, and a clock that tests set."""

    ray: FakeRay
    nodes: dict[str, dict[str, float]]
    now: float = 1000.0

    def executor(self, **settings: Any) -> RayExecutor:
        return RayExecutor("data", **{"workers": 2, "deadline": 10.0, **settings})  # type: ignore[arg-type]

    def up(self, executor: RayExecutor, *nodes: str) -> None:
        """Start workers, one on each of these nodes."""
        for reference, node in zip(list(executor._pool.starting), nodes, strict=True):
            self.ray.up(reference, node)
        assert executor.poll(0.0) == []

    def call(self, task: Task) -> Reference:
        """Return the latest call of a worker with this task."""
        calls = [call for actor in self.ray.actors for call in actor.calls if call.task == task]
        return calls[-1]

    def ends(self, executor: RayExecutor, task: Task, value: object) -> list[Evaluation]:
        """End the call with this task with a value, and return what the executor returns."""
        self.ray.values[self.call(task)] = value
        return list(executor.poll(0.0))


@pytest.fixture
def cluster(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster(fake_ray, {"a": {"CPU": 1.0}, "b": {"CPU": 1.0}})
    monkeypatch.setattr(ray_executor, "alive_nodes", lambda: made.nodes)
    monkeypatch.setattr(ray_executor, "RayMeter", object)
    monkeypatch.setattr(ray_executor, "monotonic", lambda: made.now)
    monkeypatch.setattr("evonas.workers.executors.failures.monotonic", lambda: made.now)
    monkeypatch.setattr(ray_executor, "sleep", lambda seconds: None)
    return made


def scored(task: Task) -> Evaluation:
    return Evaluation(task.index, Status.SCORED, {"resnet-small": 0.5}, attempts=task.attempt)


def test_tasks_are_done_in_order_by_workers_that_are_up(cluster: Cluster) -> None:
    executor, tasks = cluster.executor(), [task(index) for index in range(4)]
    for one in tasks:
        executor.submit(one)
    assert executor.load() == Load(queued=4, running=0, idle=0, starting=2)
    cluster.up(executor, "a", "b")
    assert executor.load() == Load(queued=2, running=2, idle=0, starting=0)
    assert cluster.ends(executor, tasks[1], scored(tasks[1])) == [scored(tasks[1])]
    assert cluster.call(tasks[2]) and executor.load() == Load(queued=1, running=2)
    for one in (tasks[0], tasks[2], tasks[3]):
        assert cluster.ends(executor, one, scored(one)) == [scored(one)]
    assert executor.load() == Load(idle=2)


def test_a_task_is_stopped_at_its_deadline_and_its_worker_replaced(cluster: Cluster) -> None:
    executor, (slow, later) = cluster.executor(), (task(1), task(2))
    cluster.up(executor, "a", "b")
    executor.submit(slow)
    cluster.now += 4.0
    executor.submit(later)
    cluster.now += 5.9
    assert executor.poll(60.0) == [] and not cluster.ray.killed
    assert cluster.ray.timeouts[-1] == pytest.approx(0.1)  # no longer than to the first deadline
    cluster.now += 0.1
    (stopped,) = executor.poll(60.0)
    assert (stopped.index, stopped.status, stopped.reason) == (1, Status.FAILED, "stopped at the deadline of 10 s")
    assert stopped.seconds == {FAILED_ATTEMPTS: pytest.approx(10.0)} and stopped.wall == pytest.approx(10.0)
    assert len(cluster.ray.killed) == 1 and executor.load() == Load(running=1, starting=1)
    assert cluster.ends(executor, later, scored(later)) == [scored(later)]


def test_a_task_may_take_several_deadlines(cluster: Cluster) -> None:
    executor, (longer, plain) = cluster.executor(), (task(1, deadlines=3.0), task(2))
    cluster.up(executor, "a", "b")
    executor.submit(longer)
    cluster.now += 15.0
    executor.submit(plain)
    assert executor.poll(60.0) == [] and cluster.ray.timeouts[-1] == pytest.approx(10.0)  # to the deadline of the other
    cluster.now += 10.0
    (stopped,) = executor.poll(60.0)
    assert (stopped.index, stopped.reason) == (2, "stopped at the deadline of 10 s")
    cluster.now += 5.0
    (stopped,) = executor.poll(60.0)
    assert (stopped.index, stopped.reason) == (1, "stopped at the deadline of 30 s")


def test_a_worker_that_died_is_a_failure_and_a_task_that_raised_keeps_its_worker(cluster: Cluster) -> None:
    executor, (one, other) = cluster.executor(), (task(1, attempt=2), task(2))
    cluster.up(executor, "a", "b")
    executor.submit(one)
    executor.submit(other)
    (dead,) = cluster.ends(executor, one, WORKER_DIED)
    assert (dead.status, dead.reason, dead.attempts) == (Status.FAILED, "the worker died", 2)
    assert len(cluster.ray.killed) == 1 and executor.load() == Load(running=1, starting=1)
    (raised,) = cluster.ends(executor, other, task_error(ValueError("no such layer")))
    assert (raised.status, raised.reason) == (Status.FAILED, "ValueError: no such layer")
    assert len(cluster.ray.killed) == 1 and executor.load() == Load(idle=1, starting=1)


def test_whatever_else_ray_raises_is_a_failure_and_costs_the_worker(cluster: Cluster) -> None:
    executor, one = cluster.executor(), task(1)
    cluster.up(executor, "a", "b")
    executor.submit(one)
    (failed,) = cluster.ends(executor, one, RayError("the object store is full"))
    assert failed.status is Status.FAILED and failed.reason.startswith("RayError: the object store is full")
    assert len(cluster.ray.killed) == 1 and executor.load() == Load(idle=1, starting=1)


def lost(cluster: Cluster, executor: RayExecutor, one: Task, node: str) -> list[Evaluation]:
    """Let the task's node die, and Ray report it."""
    cluster.nodes.pop(node, None)
    return cluster.ends(executor, one, NODE_DIED)


def node_of(executor: RayExecutor, one: Task) -> str:
    (node,) = [running.worker.node for running in executor._running.values() if running.task == one]
    return node


def test_a_task_whose_node_died_is_done_again_before_others(cluster: Cluster) -> None:
    executor, (one, other, later) = cluster.executor(), (task(1), task(2), task(3))
    cluster.up(executor, "a", "b")
    for each in (one, other, later):
        executor.submit(each)
    first = cluster.call(one)
    assert lost(cluster, executor, one, node_of(executor, one)) == []
    assert executor.load() == Load(queued=2, running=1, starting=1)
    cluster.nodes["c"] = {"CPU": 1.0}
    cluster.up(executor, "c")
    assert cluster.call(one) is not first and executor.load() == Load(queued=1, running=2)
    assert cluster.ends(executor, one, scored(one)) == [scored(one)]  # at the same attempt
    assert cluster.ends(executor, other, scored(other)) == [scored(other)]


def test_a_task_under_which_three_nodes_died_has_failed(cluster: Cluster) -> None:
    executor = cluster.executor(workers=1)
    for one in (task(1), task(1, attempt=2), task(2)):  # each is counted for itself
        executor.submit(one)
        for node in ("a", "b", "c"):
            cluster.nodes[node] = {"CPU": 1.0}
            cluster.up(executor, node)
            found = lost(cluster, executor, one, node)
            assert len(found) == (node == "c")
        assert (found[0].status, found[0].reason) == (Status.FAILED, "3 nodes died under it")
        assert (found[0].index, found[0].attempts) == (one.index, one.attempt)
        assert executor.load() == Load(starting=1)


@pytest.mark.parametrize("error", [NODE_DIED, UNAVAILABLE])
def test_a_broken_connection_to_a_living_node_is_the_workers_fault_after_a_minute(
    error: Exception, cluster: Cluster
) -> None:
    executor, one = cluster.executor(deadline=10_000.0), task(1)
    cluster.up(executor, "a", "b")
    executor.submit(one)
    cluster.now += 500.0  # what counts is when the connection broke
    assert executor.poll(0.0) == []
    assert cluster.ends(executor, one, error) == []
    assert executor.load().running == 0
    cluster.now += 60.0
    assert executor.poll(5.0) == []
    assert cluster.ray.timeouts[-1] <= 0.5  # it looks again soon
    cluster.now += 0.1
    (dead,) = executor.poll(0.0)
    assert (dead.index, dead.status, dead.reason) == (1, Status.FAILED, "the worker died")


def test_a_search_gives_up_when_no_worker_starts_while_tasks_wait(cluster: Cluster) -> None:
    executor = cluster.executor()
    cluster.now += 1000.0
    assert executor.poll(0.0) == []  # no task waits
    cluster.now += 1000.0
    executor.submit(task(1))
    cluster.now += 300.0
    assert executor.poll(0.0) == []
    cluster.now += 0.1
    with pytest.raises(EvonasError, match=r"Ray has started no worker in 300 s, although .*A worker needs 1 CPU"):
        executor.poll(0.0)


def test_the_wait_for_a_worker_begins_anew_after_work(cluster: Cluster) -> None:
    executor, one = cluster.executor(workers=1, deadline=10_000.0), task(1)
    cluster.up(executor, "a")
    executor.submit(one)
    cluster.now += 1000.0
    assert executor.poll(0.0) == []  # one is at work
    executor.submit(task(2))
    assert len(cluster.ends(executor, one, WORKER_DIED)) == 1
    cluster.now += 299.0
    assert executor.poll(0.0) == []
    cluster.now += 1.1
    with pytest.raises(EvonasError, match="started no worker"):
        executor.poll(0.0)


def test_as_many_workers_as_fit_unless_fewer_are_asked_for(cluster: Cluster) -> None:
    cluster.nodes["a"] = {"CPU": 5.0}
    assert cluster.executor(workers=None).capacity == 6
    assert cluster.executor(workers=None, cpus_per_worker=2).capacity == 2
    assert cluster.executor(workers=3).capacity == 3
    assert cluster.executor(workers=6).note == ""
    more = cluster.executor(workers=7)  # on an existing Ray, where nodes may join
    assert more.capacity == 7 and "7 workers were asked for, each with 1 CPU, and 6 of them fit now" in more.note
    with pytest.raises(UsageError, match="each with 6 CPUs, and Ray has room for none"):
        cluster.executor(workers=None, cpus_per_worker=6)


def test_closing_ends_workers_wherever_they_are(cluster: Cluster) -> None:
    executor = cluster.executor()
    reference = next(iter(executor._pool.starting))
    cluster.ray.up(reference)
    executor.poll(0.0)
    executor.submit(task(1))
    executor.close()
    assert sorted(cluster.ray.killed) == ["evonas worker 1", "evonas worker 2"]
    assert executor.load().running == 0
