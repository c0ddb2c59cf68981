"""Searches with real trainings that lose workers, machines, memory or time end as if nothing had happened."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evonas.evolution.executor import Executor, Task
from evonas.evolution.loop import Search
from evonas.language.zoo import zoo
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.executors.local_executor import LocalExecutor
from tests.test_executors import ENDLESS, TINY, descendants, process_of

LEARNS = tuple(zoo[name].to_json("evonorm") for name in ("bn-relu", "evonorm-b0", "dyt-channels"))
SETTINGS = RunConfig(
    *(evonorm, 9, 5), lookahead=3, population=6, fresh=0.2, max_attempts=6, seed_graphs=LEARNS, protocol=TINY
)
DEADLINE = 12.0
"""Seconds; long enough for a tiny training on a busy machine, and one that it cuts short is tried again."""

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc")


def found(store: Store, run: RunInfo) -> list[tuple[object, ...]]:
    """What a run recorded, but for times and attempts: candidates, and how they were judged and scored."""
    evaluations = {e.index: e for e in store.evaluations(run.id)}
    return [
        (
            *(c.index, c.graph, c.key, c.functional_key, c.origin, dict(c.discarded)),
            *((e := evaluations[c.index]).status, dict(e.scores)),
            tuple(replace(outcome, seconds=0.0) for outcome in e.filters),
        )
        for c in store.candidates(run.id)
    ]


def searched(executor: Executor, settings: RunConfig = SETTINGS) -> tuple[Store, RunInfo]:
    store = MemoryStore()
    run = store.create_run(settings, {})
    assert Search(run, store, executor).execute() is RunStatus.FINISHED
    return store, store.run(run.id)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def undisturbed(data: DataSet) -> list[tuple[object, ...]]:
    with LocalExecutor(data) as executor:
        rows = found(*searched(executor))
    assert {row[6] for row in rows} == {Status.SCORED, Status.REJECTED}
    return rows


class Sabotaged(Executor):
    """Another executor whose tasks are changed, or their processes harmed, at a candidate's first attempt.

    Args:
        inner: does the work.
        changes: of tasks, by index of the candidate.
        harm: what is done to the process that is at a task, by index.
        harmed: the protocol of such a task, by default one that has no end.
    """

    def __init__(
        self,
        inner: Executor,
        changes: dict[int, Callable[[Task], Task]],
        harm: dict[int, Callable[[int], None]],
        harmed: EvaluationProtocol = ENDLESS,
    ) -> None:
        self._inner, self._changes, self._harm, self._harmed = inner, changes, harm, harmed
        self._threads: list[threading.Thread] = []

    @property
    def capacity(self) -> int:
        return self._inner.capacity

    def submit(self, task: Task) -> None:
        if task.attempt == 1 and task.index in self._changes:
            task = self._changes[task.index](task)
        if task.attempt == 1 and task.index in self._harm:
            task = replace(task, protocol=self._harmed)
            thread = threading.Thread(target=self._do_harm, args=(task,))
            thread.start()
            self._threads.append(thread)
        self._inner.submit(task)

    def _do_harm(self, task: Task) -> None:
        self._harm[task.index](process_of(task.label))

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        return self._inner.poll(timeout)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(60)
        self._inner.close()


def hungry(task: Task) -> Task:
    """The task in images of eight thousand pixels a side: a batch of 16 takes 4 GB."""
    return replace(task, protocol=replace(task.protocol, pad=4000, crop=8000))


def limit_memory(share: int) -> None:
    """No worker may have more than `share` bytes beyond what it has now."""
    for pid, command in descendants().items():
        if command.startswith("ray::"):
            size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
            resource.prlimit(pid, resource.RLIMIT_AS, (size + share, resource.RLIM_INFINITY))


@pytest.fixture(scope="module")
def ray_executor(data: DataSet) -> Iterator[Executor]:
    from evonas.workers.executors.ray_executor import RayExecutor

    with RayExecutor(data, workers=2, deadline=DEADLINE) as executor:
        yield executor


@needs_proc
def test_candidates_that_hang_raise_exhaust_memory_or_die(
    ray_executor: Executor, undisturbed: list[tuple[object, ...]]
) -> None:
    """Each is tried again, and the search ends as one does that nothing happened to."""
    ray_executor.submit(Task(99, 1, SABOTAGE_FREE, TINY))  # workers are up once this is done
    while not ray_executor.poll(1.0):
        pass
    limit_memory(600 * 2**20)
    executor = Sabotaged(
        ray_executor,
        {0: hungry, 1: lambda task: replace(task, graph='{"nodes": [["frobnicate", [0]]]}')},
        {
            2: lambda pid: os.kill(pid, signal.SIGSTOP),  # hangs
            4: lambda pid: os.kill(pid, signal.SIGKILL),
            6: lambda pid: os.kill(pid, signal.SIGSEGV),
        },
    )
    store, run = searched(executor)
    for thread in executor._threads:
        thread.join(60)
    assert found(store, run) == undisturbed
    told = {e.index: e.reason for e in store.evaluations(run.id)}
    assert "alloc" in told[0]  # what PyTorch or NumPy says when memory is not to be had
    assert "attempt 1 failed: " in told[1] and "frobnicate" in told[1]
    assert f"stopped at the deadline of {DEADLINE:g} s" in told[2]
    assert "the worker died" in told[4] and "the worker died" in told[6]
    assert all(e.attempts > 1 for e in store.evaluations(run.id) if e.index in (0, 1, 2, 4, 6))


def test_one_that_always_fails_is_recorded_and_the_search_goes_on(
    ray_executor: Executor, undisturbed: list[tuple[object, ...]]
) -> None:
    class Poisoned(Sabotaged):
        def submit(self, task: Task) -> None:
            super().submit(replace(task, graph="no JSON") if task.index == 3 else task)

    store, run = searched(Poisoned(ray_executor, {}, {}), replace(SETTINGS, max_attempts=2))
    ended = {e.index: e for e in store.evaluations(run.id)}
    assert len(ended) == SETTINGS.budget
    assert (ended[3].status, ended[3].attempts) == (Status.FAILED, 2)
    assert "JSON" in ended[3].reason
    assert found(store, run)[:3] == undisturbed[:3]


SABOTAGE_FREE = '{"nodes": [["max", [0, 1]]]}'


LONG = replace(TINY, steps=60, signal=False, stability_steps=())
"""A training takes a second or so, in which its process can be found; and it ends, because it is done again."""


@needs_proc
@pytest.mark.slow
def test_a_node_that_is_lost(data: DataSet) -> None:
    """Twice a node of this machine goes with its worker, in the midst of a training, and another comes."""
    from ray.cluster_utils import Cluster

    from evonas.workers.executors.ray_executor import RayExecutor

    settings = replace(SETTINGS, protocol=LONG, max_attempts=1)
    with LocalExecutor(data) as local:
        undisturbed = found(*searched(local, settings))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        with RayExecutor(data, address=cluster.address, workers=2) as inner:
            doomed: list[int] = []  # workers whose nodes are to go; Ray starts nodes in the main thread alone

            class OnLosingNodes(Sabotaged):
                def poll(self, timeout: float) -> Sequence[Evaluation]:
                    while doomed:
                        lose(doomed.pop())
                    return super().poll(timeout)

            def freeze(pid: int) -> None:
                os.kill(pid, signal.SIGSTOP)  # or it might be done before its node is gone
                doomed.append(pid)

            def lose(pid: int) -> None:
                # The node whose process the worker descends from.
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                for node in nodes:
                    raylets = getattr(node, "all_processes", {}).get("raylet", ())
                    if any(info.process.pid == parent for info in raylets):
                        cluster.remove_node(node, allow_graceful=False)
                        os.kill(pid, signal.SIGKILL)  # nothing of a machine that is gone goes on
                        nodes.append(cluster.add_node(num_cpus=1))
                        return
                raise AssertionError(f"no node has process {pid}")

            executor = OnLosingNodes(inner, {}, {1: freeze, 5: freeze}, LONG)
            store, run = searched(executor, settings)
            for thread in executor._threads:
                thread.join(60)
        assert len(nodes) == 4
        assert found(store, run) == undisturbed
        assert all(e.attempts == 1 for e in store.evaluations(run.id))  # what is done again costs no attempt
    finally:
        cluster.shutdown()
