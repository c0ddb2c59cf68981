"""Ray clusters of several nodes, all on this machine: nodes that are lost and join, and the transfer of data."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from evonas.evolution.executor import Executor
from evonas.front.api import execute
from evonas.records.memory_store import MemoryStore
from evonas.settings.candidate import Status
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.executors.local_executor import LocalExecutor
from tests.fakes import config, table
from tests.test_executors import PATIENCE, TINY, results, task
from tests.test_metrics import Interrupt

pytestmark = pytest.mark.slow
LONG = replace(TINY, steps=60, signal=False, stability_steps=())
"""A candidate takes long enough for a node to die under it."""


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs no work, a node with one CPU and one with two, on loopback."""
    import ray
    from ray.cluster_utils import Cluster

    from evonas.workers.executors.ray_cluster import on_loopback

    with pytest.MonkeyPatch.context() as patch, on_loopback():
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_metrics_report_interval_ms", "500")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            made.small = made.add_node(num_cpus=1)
            made.large = made.add_node(num_cpus=2)
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_dataset("digits")


def joined(cluster: Any, data: DataSet, **settings: Any) -> Any:
    from evonas.workers.executors.ray_executor import RayExecutor

    return RayExecutor(data, address=cluster.address, **settings)


def wait_until(true: Any, executor: Executor) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, executor.load()
        executor.poll(0.2)
        time.sleep(0.1)


def nodes_at_work(executor: Any) -> set[str]:
    return {running.worker.node for running in executor._running.values()}


class At(Interrupt):
    """An observer that acts once so many candidates have been evaluated."""

    def __init__(self, *actions: tuple[int, Any]) -> None:
        self.actions, self.seen = list(actions), 0

    def evaluated(self, candidate: object, evaluation: object) -> None:
        self.seen += 1

    def tick(self, pending: int) -> None:
        while self.actions and self.seen >= self.actions[0][0]:
            self.actions.pop(0)[1]()


def test_a_search_outlives_a_node_and_uses_one_that_joins(cluster: Any, data: DataSet) -> None:
    """Four workers are requested where three fit; the node with two dies, another joins, and the result is the same."""
    settings = replace(config(budget=16, max_attempts=1, lookahead=6), protocol=LONG)
    undisturbed = MemoryStore()
    run = undisturbed.create_run(settings, {})
    with LocalExecutor(data) as local:
        execute(run, undisturbed, local, references=())
    expected = table(undisturbed, run)

    store = MemoryStore()
    run = store.create_run(settings, {})
    seen: list[Any] = []
    with joined(cluster, data, workers=4) as executor:
        assert executor.capacity == 4
        assert executor.note == (
            "4 workers were asked for, each with 1 CPU, and 3 of them fit now (1 node with 0 CPUs, 1 node with 1 CPU, "
            "1 node with 2 CPUs); the others start as nodes join"
        )

        def lose() -> None:
            seen.append((nodes_at_work(executor), cluster.large.node_id))
            cluster.remove_node(cluster.large, allow_graceful=False)

        def join() -> None:
            seen.append(cluster.add_node(num_cpus=3).node_id)

        def look() -> None:
            wait_until(lambda: seen[1] in {m.node for m in members(executor)}, executor)

        execute(run, store, executor, [At((3, lose), (6, join))], references=())
        wait_until(lambda: seen[1] in {m.node for m in members(executor)}, executor)
        wait_until(lambda: executor.load().idle == 4, executor)  # one on the small node, three on the new one
    assert seen[0][1] in seen[0][0]  # it was at work when it died
    found = table(store, run)
    assert [row[:6] for row in found] == [row[:6] for row in expected]
    for mine, other in zip(found, expected, strict=True):
        assert mine[6][:2] == other[6][:2]  # type: ignore[index]  # status and scores
        assert mine[6][5] == 1 and mine[6][0] is not Status.FAILED  # type: ignore[index]


def members(executor: Any) -> list[Any]:
    running = [running.worker for running in executor._running.values()]
    return [*executor._pool._idle, *running]


def test_a_task_that_nodes_keep_dying_under_has_failed(
    cluster: Any, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evonas.workers.executors.ray_executor._LOST_NODES", 1)
    with joined(cluster, data, workers=1, cpus_per_worker=2) as executor:  # fits on the large node alone
        executor.submit(task(3, protocol=replace(LONG, steps=10**7)))
        wait_until(lambda: executor.load().running == 1, executor)
        assert nodes_at_work(executor) == {cluster.large.node_id}
        cluster.remove_node(cluster.large, allow_graceful=False)
        failed = results(executor, 1)[3]
        assert (failed.status, failed.reason) == (Status.FAILED, "1 nodes died under it")


def test_the_data_travels_once_to_each_node(cluster: Any, data: DataSet) -> None:
    """Bytes received, as counted by the nodes' object managers, with three workers and their replacements."""
    import ray

    with joined(cluster, data, workers=3, recycle_after=1) as executor:
        for index in range(9):
            executor.submit(task(index))
        results(executor, 9)
        wait_until(lambda: executor.load().idle == 3, executor)
        time.sleep(3)  # reports come twice a second
        received = {}
        for node in ray.nodes():
            url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            counts = re.findall(r'^ray_object_manager_received_chunks\{.*?Type="Total".*?\} (\S+)$', text, re.M)
            received[node["NodeID"]] = sum(float(count) for count in counts)
        assert len(received) == 3 and received[cluster.head_node.node_id] == 0
        # Ray sends objects in chunks of 5 MiB; the digits are smaller.
        assert received[cluster.small.node_id] == received[cluster.large.node_id] == 1, received
