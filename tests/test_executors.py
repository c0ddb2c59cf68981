"""The contract of every executor, and the faults that the Ray executor must survive: killed workers, deadlines."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from evonas.errors import UsageError
from evonas.evolution.executor import Executor, Task
from evonas.language.zoo import zoo
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.make_executor import check_executor, make_executor
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.executors.local_executor import LocalExecutor
from evonas.workers.trial.evaluate import evaluate_task

TINY = EvaluationProtocol(
    anchors=("resnet-small",), steps=2, batch=16, early_steps=(), early_floors=(), quality_step=1, quality_floor=0.0
)
ENDLESS = replace(TINY, steps=10**7)
LAYERS = ("bn-relu", "evonorm-s0", "gn-relu", "evonorm-b0")
PATIENCE = 120.0  # seconds; starting a worker imports torch, which takes long where cores are shared

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc")


def task(index: int, layer: str = "bn-relu", **changes: object) -> Task:
    return Task(index, 1, zoo[layer].to_json(), TINY) if not changes else replace(task(index, layer), **changes)  # type: ignore[arg-type]


def results(executor: Executor, count: int) -> dict[int, Evaluation]:
    """Return the next `count` evaluations by index, and fail if there are more or fewer."""
    found: list[Evaluation] = []
    end = time.monotonic() + PATIENCE
    while len(found) < count and time.monotonic() < end:
        found += executor.poll(1.0)
    assert len(found) == count, f"{len(found)} of {count} evaluations after {PATIENCE:g} s"
    assert len({e.index for e in found}) == count
    return {e.index: e for e in found}


def comparable(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation without times, which are never equal."""
    outcomes = tuple(replace(outcome, seconds=0.0) for outcome in evaluation.filters)
    # Which times there are differs as well: a process builds a kernel once.
    return replace(evaluation, filters=outcomes, seconds={}, wall=0.0)


def descendants() -> dict[int, str]:
    """Return the command lines of all descendants of this process, by process id."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended in the meantime
        children.setdefault(parent, []).append(int(status.parent.name))
    found, queue = {}, [os.getpid()]
    while queue:
        for pid in children.get(queue.pop(), []):
            queue.append(pid)
            try:
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def process_of(label: str) -> int:
    """Return the process that runs the task called `label`, which Ray names accordingly."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for pid, command in descendants().items():
            if command.startswith(f"ray::{label}") and not command.startswith(f"ray::{label}0"):
                return pid
        time.sleep(0.05)
    raise AssertionError(f"no process is at {label}")


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def wait_for_end(pid: int) -> None:
    end = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < end, f"process {pid} still runs"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def ray_executor(data: DataSet) -> Iterator[Executor]:
    """Two workers on a Ray of this module, which ends with the module."""
    from evonas.workers.executors.ray_executor import RayExecutor

    with RayExecutor(data, workers=2) as executor:
        executor.submit(task(0))
        results(executor, 1)  # tasks wait until they are polled while workers start, and some tests only look
        yield executor


@pytest.fixture(params=["local", "ray"])
def executor(request: pytest.FixtureRequest, data: DataSet) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("ray_executor")
        return
    with LocalExecutor(data) as local:
        yield local


@pytest.fixture(scope="module")
def expected(data: DataSet) -> dict[str, Evaluation]:
    torch.set_num_threads(1)
    return {layer: evaluate_task(task(0, layer), data) for layer in LAYERS}


def test_ray_gets_few_names(ray_executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray never forgets a name: with one per candidate, the coordinator of a long search would run out of memory."""
    names: list[str] = []
    options = ray.actor.ActorMethod.options

    def noted(method: ray.actor.ActorMethod, **settings: Any) -> Any:
        names.append(settings["name"])
        return options(method, **settings)

    monkeypatch.setattr(ray.actor.ActorMethod, "options", noted)
    for index in (7, 8, 99, 100, -1, -2):
        ray_executor.submit(replace(task(index), graph="no graph"))
    results(ray_executor, 6)
    assert set(names) == {
        "candidates 0 to 99: resnet-small",
        "candidates 100 to 199: resnet-small",
        "references: resnet-small",
    }
    assert len({replace(task(index), attempt=3).group for index in range(5000)}) == 50


def test_nothing_to_do_gives_nothing(executor: Executor) -> None:
    assert executor.capacity >= 1
    assert list(executor.poll(0.0)) == []


def test_an_evaluation_for_each_task_with_the_bits_of_a_direct_call(
    executor: Executor, expected: dict[str, Evaluation]
) -> None:
    """More tasks than workers, including references; scores do not depend on the worker."""
    for index, layer in enumerate(LAYERS):
        executor.submit(task(index, layer))
    executor.submit(task(-1, "bn-relu", filtered=False))
    executor.submit(task(7, "bn-relu", attempt=2))
    found = results(executor, len(LAYERS) + 2)
    for index, layer in enumerate(LAYERS):
        assert comparable(found[index]) == comparable(replace(expected[layer], index=index))
        assert found[index].status is Status.SCORED and found[index].core_seconds > 0
    assert found[-1].scores == found[0].scores and found[-1].filters == ()
    assert found[7].attempts == 2
    assert list(executor.poll(0.0)) == []


BAD_GRAPHS = ['{"nodes": [["frobnicate", [0]]]}', "not json", '{"nodes": [["add", [0, 9]]]}']


def test_a_bad_task_fails_with_its_reason_and_hurts_no_other(
    executor: Executor, expected: dict[str, Evaluation]
) -> None:
    for index, graph in enumerate(BAD_GRAPHS):
        executor.submit(task(2 * index, graph=graph, attempt=3))
        executor.submit(task(2 * index + 1))
    executor.submit(task(6, protocol=replace(TINY, anchors=("no-such-anchor",))))
    found = results(executor, 7)
    for index, words in zip((0, 2, 4, 6), ("frobnicate", "JSON", "refers to node 9", "no-such-anchor"), strict=True):
        assert found[index].status is Status.FAILED and not found[index].scores
        assert words in found[index].reason and "\n" not in found[index].reason
    assert [found[index].attempts for index in (0, 2, 4)] == [3, 3, 3]
    for index in (1, 3, 5):
        assert found[index].scores == expected["bn-relu"].scores


def test_a_closed_local_executor_has_forgotten_its_queue(data: DataSet) -> None:
    torch.set_num_threads(2)
    try:
        executor = LocalExecutor(data)
        assert torch.get_num_threads() == 1  # the sums of a worker, in its order
        executor.submit(task(0))
        executor.close()
        executor.close()
        assert list(executor.poll(0.0)) == []
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_ray_has_the_requested_workers_and_a_dashboard(ray_executor: Executor) -> None:
    assert ray_executor.capacity == 2
    host, _, port = (ray_executor.dashboard or "").rpartition(":")
    assert host == "127.0.0.1" and int(port) > 0


@needs_proc
def test_a_killed_worker_is_a_failure_and_is_replaced(ray_executor: Executor, expected: dict[str, Evaluation]) -> None:
    ray_executor.submit(task(77, protocol=ENDLESS))
    ray_executor.submit(task(1))
    os.kill(process_of("candidate 77"), signal.SIGKILL)
    ray_executor.submit(task(2))
    ray_executor.submit(task(3))
    found = results(ray_executor, 4)
    assert (found[77].status, found[77].reason) == (Status.FAILED, "the worker died")
    assert all(found[index].scores == expected["bn-relu"].scores for index in (1, 2, 3))


@needs_proc
def test_the_deadline_stops_a_task_and_only_that(
    ray_executor: Executor, expected: dict[str, Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_executor.submit(task(78, protocol=ENDLESS))
    pid = process_of("candidate 78")
    monkeypatch.setattr(ray_executor, "_deadline", 0.2)
    start = time.monotonic()
    failed = results(ray_executor, 1)[78]
    assert (failed.status, failed.reason) == (Status.FAILED, "stopped at the deadline of 0.2 s")
    assert time.monotonic() - start < 10  # at once, but for the load of the machine
    wait_for_end(pid)
    monkeypatch.setattr(ray_executor, "_deadline", PATIENCE)
    ray_executor.submit(task(1))
    ray_executor.submit(task(2))
    found = results(ray_executor, 2)
    assert all(found[index].scores == expected["bn-relu"].scores for index in (1, 2))


@pytest.mark.parametrize("bad", [-0.5, 1.5, float("nan"), float("inf")])
def test_a_number_of_gpus_that_makes_no_sense_is_refused(bad: float) -> None:
    for good in (None, 0.0, 0.25, 1.0, 2.0):
        check_executor("ray", gpus_per_worker=good)
    with pytest.raises(UsageError, match="gpus_per_worker must be an integer or a fraction"):
        check_executor("ray", gpus_per_worker=bad)


def test_workers_get_the_gpus_that_a_protocol_trains_on(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr("evonas.workers.trial.evaluate.load_data", lambda protocol: data)
    monkeypatch.setattr("evonas.workers.trial.training.check_device", lambda device: None)
    monkeypatch.setattr(
        "evonas.workers.executors.ray_executor.RayExecutor",
        lambda data, **settings: asked.append(settings["gpus_per_worker"]),
    )
    for device, gpus in (("cpu", None), ("cuda", None), ("cuda", 0.25), ("cuda", 0.0)):
        make_executor("ray", EvaluationProtocol(device=device), gpus_per_worker=gpus)  # type: ignore[arg-type]
    assert asked == [0.0, 1.0, 0.25, 0.0]


def test_a_ray_that_it_did_not_start_is_left_alone(ray_executor: Executor, data: DataSet) -> None:
    import ray

    from evonas.workers.executors.ray_executor import RayExecutor

    gpus = int(ray.cluster_resources().get("GPU", 0))
    with pytest.raises(UsageError, match=f"each with 1 CPU and {gpus + 1} GPUs?, and Ray has room for none"):
        RayExecutor(data, gpus_per_worker=gpus + 1)
    assert ray.is_initialized()


def test_a_worker_makes_way_for_a_new_process_after_so_many_tasks(
    ray_executor: Executor, data: DataSet, expected: dict[str, Evaluation]
) -> None:
    """The workers of the shared executor are released first, because there is no room for more."""
    pool = ray_executor._pool  # type: ignore[attr-defined]
    before = {id(member) for member in pool._idle}
    pool._recycle_after = 2
    try:
        for index in range(5):
            ray_executor.submit(task(index))
        found = results(ray_executor, 5)
        assert all(evaluation.scores == expected["bn-relu"].scores for evaluation in found.values())
    finally:
        pool._recycle_after = None
    after = {id(member) for member in (*pool._idle, *pool.starting.values())}
    assert len(after) == 2 and before != after
    assert max(member.done for member in pool._idle or [*pool.starting.values()]) < 2


@needs_proc
def test_ray_listens_on_loopback_alone(ray_executor: Executor) -> None:
    """All sockets on which Ray's processes and this one listen, as the kernel reports them."""
    inodes = set()
    for pid in (os.getpid(), *descendants()):
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inodes.add(str(descriptor.readlink()))
    listening = []
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                listening.append(fields[1].rpartition(":")[0])
    # 127.0.0.1 in the kernel's hexadecimal, alone, or mapped into IPv6; and ::1.
    loopback = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
    assert len(listening) > 4 and set(listening) <= loopback, listening


@needs_proc
def test_closing_kills_what_runs_and_ends_ray(ray_executor: Executor) -> None:
    """The last test of this module, because nothing can be submitted after it."""
    import ray

    ray_executor.submit(task(79, protocol=ENDLESS))
    # Other tests may have left a server of theirs to this process.
    started = [process_of("candidate 79"), *(pid for pid in descendants() if "ray" in command_of(pid))]
    assert len(started) > 3
    ray_executor.close()
    ray_executor.close()
    for pid in started:
        wait_for_end(pid)
    assert not ray.is_initialized()
    assert list(_polled(ray_executor)) == []


def _polled(executor: Executor) -> Sequence[Evaluation]:
    return executor.poll(0.0)


def test_all_options_reach_the_ray_executor(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: dict[str, Any] = {}
    monkeypatch.setattr("evonas.workers.trial.evaluate.load_data", lambda protocol: data)
    monkeypatch.setattr("evonas.settings.plugins._loaded", {})  # workers get the files that other tests have loaded
    monkeypatch.setattr(
        "evonas.workers.executors.ray_executor.RayExecutor", lambda data, **settings: passed.update(settings)
    )
    asked = {"workers": 3, "cpus_per_worker": 2, "recycle_after": 50, "gpus_per_worker": 0.0}
    make_executor("ray", EvaluationProtocol(), deadline=7.5, ray_address="auto", **asked)
    assert passed == asked | {"address": "auto", "deadline": 7.5, "device": "cpu", "files": ()}
