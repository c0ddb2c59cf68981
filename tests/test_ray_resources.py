"""The number of workers that fit on clusters of different nodes, and each worker's share of a GPU's memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import UsageError
from evonas.setup.make_executor import check_executor
from evonas.workers.executors.ray_resources import WorkerResources, cluster_capacity, workers_on_node
from evonas.workers.executors.ray_worker import CONTEXT_BYTES, limit_gpu_memory

BIG = {"CPU": 8.0, "GPU": 2.0, "memory": 1e9}
SMALL = {"CPU": 3.0, "GPU": 1.0}
PLAIN = {"CPU": 4.0}
HEAD = {"memory": 1e9}  # takes no work


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "fit"),
    [
        ({"CPU": 8.0}, 1, 0.0, 8),
        (BIG, 1, 0.0, 8),
        (BIG, 3, 0.0, 2),
        (BIG, 1, 1.0, 2),
        (BIG, 1, 0.5, 4),
        (BIG, 1, 0.4, 4),  # two on each GPU: a share is of one
        (BIG, 3, 0.25, 2),
        ({"CPU": 99.0, "GPU": 1.0}, 1, 0.1, 10),
        (SMALL, 1, 0.1, 3),
        ({"CPU": 8.0, "GPU": 5.0}, 1, 2.0, 2),
        (HEAD, 1, 0.0, 0),
        (PLAIN, 1, 0.25, 0),
    ],
)
def test_workers_that_fit_on_a_node(node: dict[str, float], cpus: int, gpus: float, fit: int) -> None:
    assert workers_on_node(node, WorkerResources(cpus, gpus)) == fit


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "fit"),
    [(None, 1, 0.0, 15), (None, 4, 0.0, 3), (None, 1, 0.25, 11), (None, 1, 1.0, 3), (4, 1, 0.0, 4), (None, 1, 2.0, 1)],
)
def test_nodes_are_counted_one_by_one(workers: int | None, cpus: int, gpus: float, fit: int) -> None:
    """Three nodes with 15 CPUs and 3 GPUs in total; a remainder on one node is of no use to another."""
    room = cluster_capacity([HEAD, BIG, SMALL, PLAIN], workers, WorkerResources(cpus, gpus))
    assert room.workers == room.fit == fit


@given(
    nodes=st.lists(st.fixed_dictionaries({"CPU": st.integers(0, 9), "GPU": st.integers(0, 4)}), min_size=1, max_size=5),
    cpus=st.integers(1, 4),
    gpus=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 1.0, 2.0]),
)
def test_what_fits_does_fit(nodes: list[dict[str, float]], cpus: int, gpus: float) -> None:
    """No node is asked for more than it has, GPU by GPU, and no additional worker would fit."""
    for node in nodes:
        count = workers_on_node(node, WorkerResources(cpus, gpus))
        cards = 0 if not gpus else -(-count // int(1 / gpus + 1e-6)) if gpus < 1 else count * int(gpus)
        assert count * cpus <= node["CPU"] and cards <= node["GPU"]
        more = count + 1
        cards = 0 if not gpus else -(-more // int(1 / gpus + 1e-6)) if gpus < 1 else more * int(gpus)
        assert more * cpus > node["CPU"] or cards > node["GPU"]


@pytest.mark.parametrize(
    ("nodes", "workers", "needs", "says"),
    [
        (
            [PLAIN],
            None,
            WorkerResources(1, 1.0),
            "a worker was asked for, each with 1 CPU and 1 GPU, and Ray has room for none (1 node with 4 CPUs); "
            "use other machines, or a smaller --gpus-per-worker or --cpus-per-worker",
        ),
        (
            [BIG, BIG, PLAIN],
            9,
            WorkerResources(2, 0.5),
            "9 workers were asked for, each with 2 CPUs and 0.5 GPUs, and Ray has room for 8 (1 node with 4 CPUs, "
            "2 nodes with 8 CPUs and 2 GPUs); use --workers 1 to 8, or a smaller --gpus-per-worker or "
            "--cpus-per-worker",
        ),
        (
            [PLAIN],
            5,
            WorkerResources(),
            "5 workers were asked for, each with 1 CPU, and Ray has room for 4 (1 node with 4 CPUs); use --workers 1 "
            "to 4, or a smaller --cpus-per-worker",
        ),
        (
            [HEAD],
            None,
            WorkerResources(),
            "a worker was asked for, each with 1 CPU, and Ray has room for none (1 node with 0 CPUs); use other "
            "machines, or a smaller --cpus-per-worker",
        ),
    ],
)
def test_too_little_room_is_explained(
    nodes: list[dict[str, float]], workers: int | None, needs: WorkerResources, says: str
) -> None:
    with pytest.raises(UsageError) as raised:
        cluster_capacity(nodes, workers, needs)
    assert str(raised.value) == says


def test_more_may_be_asked_for_where_nodes_may_join() -> None:
    assert (room := cluster_capacity([BIG], 20, WorkerResources(), grows=True)).workers == 20 and room.fit == 8
    assert (room := cluster_capacity([PLAIN], 2, WorkerResources(1, 1.0), grows=True)).workers == 2 and room.fit == 0
    with pytest.raises(UsageError, match="room for none"):  # how many would be guesswork
        cluster_capacity([PLAIN], None, WorkerResources(1, 1.0), grows=True)


def test_numbers_that_make_no_sense_are_refused() -> None:
    check_executor("ray", workers=3, gpus_per_worker=0.25, cpus_per_worker=2, recycle_after=100)
    for name in ("workers", "cpus_per_worker", "recycle_after"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1, not 0"):
            check_executor("ray", **{name: 0})  # type: ignore[arg-type]  # one of the names that there are


GIB = 2**30


@pytest.mark.parametrize(
    ("assigned", "total", "share"),
    [
        (0.25, 80 * GIB, 0.25 - 0.5 / 80),
        (0.5, 8 * GIB, 0.5 - 0.5 / 8),
        (0.1, 4 * GIB, 0.05),  # a context would leave nothing: half of it
        (1.0, 80 * GIB, None),
        (0.0, 80 * GIB, None),
        (2.0, 80 * GIB, None),
    ],
)
def test_memory_follows_the_share_that_was_assigned(
    assigned: float, total: int, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fake GPU: the limit that PyTorch gets, and that all workers of a GPU fit on it with their contexts."""
    limits: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=total))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *args: limits.append(args))
    limited = limit_gpu_memory(assigned)
    assert limited == (None if share is None else pytest.approx(share))
    assert limits == ([] if share is None else [(limited, 0)])
    if share is not None and share > assigned / 2:
        workers = int(1 / assigned + 1e-6)
        assert workers * (share * total + CONTEXT_BYTES) <= total


def test_a_worker_asks_ray_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """The actor's constructor, without Ray: only on cuda, it limits itself to its assigned share."""
    from evonas.workers.executors import ray_worker

    asked: list[float] = []
    context = SimpleNamespace(get_assigned_resources=lambda: {"CPU": 2.0, "GPU": 0.25})
    monkeypatch.setattr(ray_worker.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(ray_worker, "limit_gpu_memory", asked.append)
    monkeypatch.setattr("evonas.workers.trial.training.check_device", lambda device: None)
    threads = torch.get_num_threads()
    try:
        ray_worker.Worker(object(), WorkerResources(2, 0.25), "cpu")  # type: ignore[arg-type]
        assert torch.get_num_threads() == 2 and asked == []
        ray_worker.Worker(object(), WorkerResources(1, 0.25), "cuda")  # type: ignore[arg-type]
        assert torch.get_num_threads() == 1 and asked == [0.25]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_worker_without_the_gpu_that_it_should_train_on_does_not_start() -> None:
    from evonas.workers.executors.ray_worker import Worker

    with pytest.raises(UsageError, match="device is cuda, but PyTorch sees no GPU here"):
        Worker(object(), WorkerResources(1, 0.25), "cuda")  # type: ignore[arg-type]
