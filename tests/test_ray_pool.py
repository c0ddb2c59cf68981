"""The pool of Ray workers, tested without Ray: starting, waiting, lending, replacing and giving up."""

from __future__ import annotations

from typing import Any

import pytest

from evonas.errors import EvonasError
from evonas.workers.executors.ray_pool import _FAILED_STARTS, PooledWorker, WorkerPool, cause_of, node_died
from tests.fake_ray import NODE_DIED, UNAVAILABLE, WORKER_DIED, FakeRay, fake_ray

__all__ = ["fake_ray"]


def pool_of(ray: FakeRay, size: int, recycle_after: int | None = None, up: bool = True) -> WorkerPool:
    pool = WorkerPool(size, ray.start, recycle_after)
    for reference in list(pool.starting) if up else []:
        ray.up(reference)
        pool.started(reference)
    return pool


def fails(ray: FakeRay, pool: WorkerPool, error: Exception = WORKER_DIED) -> None:
    """Let the worker that has been starting for the longest time fail."""
    reference = next(iter(pool.starting))
    ray.values[reference] = error
    pool.started(reference)


def lent(pool: WorkerPool) -> PooledWorker:
    member = pool.take()
    assert member is not None
    return member


def test_workers_wait_for_tasks_once_they_are_up(fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 3, up=False)
    assert [actor.name for actor in fake_ray.actors] == [f"evonas worker {number}" for number in (1, 2, 3)]
    assert (len(pool.starting), pool.idle, pool.take()) == (3, 0, None)
    for place, reference in enumerate(list(pool.starting)):
        fake_ray.up(reference, f"node {place}")
        pool.started(reference)
    assert (len(pool.starting), pool.idle) == (0, 3)
    members = [lent(pool) for _ in range(3)]
    assert {member.node for member in members} == {"node 0", "node 1", "node 2"}
    assert pool.take() is None and pool.idle == 0
    pool.give_back(members[0])
    assert (pool.idle, members[0].done, fake_ray.killed) == (1, 1, [])
    assert pool.take() is members[0]


@pytest.mark.parametrize("recycle_after", [1, 3])
def test_a_worker_makes_way_after_exactly_so_many_tasks(recycle_after: int, fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 1, recycle_after)
    for _ in range(recycle_after):
        assert not fake_ray.killed and pool.idle == 1
        pool.give_back(lent(pool))
    assert fake_ray.killed == ["evonas worker 1"]
    assert (pool.idle, len(pool.starting), fake_ray.actors[-1].name) == (0, 1, "evonas worker 2")


def test_without_a_number_a_worker_stays_for_good(fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 1)
    for _ in range(50):
        pool.give_back(lent(pool))
    assert not fake_ray.killed and len(fake_ray.actors) == 1


def test_a_worker_that_fails_to_start_is_replaced_a_few_times_and_no_more(fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 1, up=False)
    for failed in range(_FAILED_STARTS):
        fails(fake_ray, pool)
        assert len(pool.starting) == 1 and len(fake_ray.killed) == failed + 1
    with pytest.raises(EvonasError, match="Ray's workers do not start: The actor died unexpectedly"):
        fails(fake_ray, pool)


def test_only_failures_one_after_the_other_count(fake_ray: FakeRay) -> None:
    """A run of several days loses a worker from time to time, and continues."""
    pool = pool_of(fake_ray, 1, up=False)
    for _ in range(4):
        for _ in range(_FAILED_STARTS):
            fails(fake_ray, pool)
        (reference,) = pool.starting
        fake_ray.up(reference)
        pool.started(reference)
        pool.replace(lent(pool))
    for _ in range(_FAILED_STARTS):
        fails(fake_ray, pool)
    with pytest.raises(EvonasError, match="do not start"):
        fails(fake_ray, pool)


@pytest.mark.parametrize("error", [NODE_DIED, UNAVAILABLE])
def test_nodes_that_die_under_starting_workers_are_not_the_workers_fault(error: Exception, fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 1, up=False)
    for _ in range(3 * _FAILED_STARTS):
        fails(fake_ray, pool, error)
    assert len(pool.starting) == 1


def test_which_errors_mean_that_a_node_may_have_died() -> None:
    assert node_died(NODE_DIED) and node_died(UNAVAILABLE) and not node_died(WORKER_DIED)
    assert cause_of(NODE_DIED) == "The actor died because its node has died."
    error: Any = type(
        "Traced", (type(WORKER_DIED),), {"__str__": lambda self: "a\n  traceback\n\n ValueError: no\n \n"}
    )()
    assert cause_of(error) == "ValueError: no"


def test_another_version_of_evonas_is_refused(fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 1, up=False)
    (reference,) = pool.starting
    fake_ray.up(reference, "0123456789abcdef", "0.0.1")
    with pytest.raises(EvonasError, match=r"node 0123456789ab has evonas 0\.0\.1, this process"):
        pool.started(reference)


def test_closing_ends_every_worker_wherever_it_is(fake_ray: FakeRay) -> None:
    pool = pool_of(fake_ray, 3)
    at_work = lent(pool)
    pool.replace(lent(pool))
    pool.close([at_work])
    assert sorted(fake_ray.killed) == [f"evonas worker {number}" for number in (1, 2, 3, 4)]
    assert (pool.idle, len(pool.starting)) == (0, 0)
