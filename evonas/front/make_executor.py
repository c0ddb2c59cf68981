"""Which executor carries trainings out, and what may be asked of its workers.

Workers and Ray are imported inside functions, when they are asked for.
"""

from __future__ import annotations

from typing import TypedDict, Unpack

from evonas.errors import UsageError, unknown
from evonas.evolution.executor import Executor
from evonas.settings import plugins
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

EXECUTORS = ("ray", "local")


class Workers(TypedDict, total=False):
    """Ray's workers, as whoever starts trainings may ask for them; what is left out is as `RayExecutor` has it.

    Attributes:
        workers: how many; by default one a CPU, or as many as fit on the GPUs that they need.
        ray_address: a running Ray cluster, HOST:PORT or "auto"; when None, that of the environment variable
            RAY_ADDRESS, and where there is none a Ray on this machine.
        gpus_per_worker: GPUs that each is given, such as 0.25 for four on one GPU; by default 1 when the protocol
            trains on cuda, and 0 elsewhere.
        cpus_per_worker: CPUs of each, and threads that it computes with.
        recycle_after: candidates after which a worker is replaced by a new process; None for never.
    """

    workers: int | None
    ray_address: str | None
    gpus_per_worker: float | None
    cpus_per_worker: int
    recycle_after: int | None


def make_executor(
    executor: str | Executor,
    protocol: EvaluationProtocol,
    *,
    deadline: float = RunConfig.deadline,
    **workers: Unpack[Workers],
) -> Executor:
    """The executor meant by a name. An executor that is given is used as it is, and closed with its `with`.

    Args:
        executor: a name of `EXECUTORS`, or an executor.
        protocol: whose data workers are given.
        deadline: seconds after which a worker is stopped.
        workers: see `Workers`.

    Raises:
        UsageError: for an unknown name, when Ray cannot be had, or when this machine should train and lacks the
            protocol's device.
    """
    plugins.load_recorded_files(protocol.plugins)
    if isinstance(executor, Executor):
        return executor
    check_executor(executor, **workers)
    ray_address = workers.get("ray_address")
    from evonas.workers.trial.evaluate import load_data
    from evonas.workers.trial.training import check_device

    if executor == "local" or not joins_cluster(ray_address):
        check_device(protocol.device)  # of a cluster, the machine that coordinates needs no GPU
    data = load_data(protocol)
    if executor == "local":
        from evonas.workers.executors.local_executor import LocalExecutor

        return LocalExecutor(data)
    from evonas.workers.executors.ray_executor import RayExecutor

    gpus = workers.get("gpus_per_worker")
    if gpus is None:
        gpus = 1.0 if protocol.device == "cuda" else 0.0
    return RayExecutor(
        data,
        workers=workers.get("workers"),
        address=ray_address,
        deadline=deadline,
        gpus_per_worker=gpus,
        cpus_per_worker=workers.get("cpus_per_worker", 1),
        recycle_after=workers.get("recycle_after"),
        device=protocol.device,
        files=plugins.loaded_files(),
    )


def joins_cluster(ray_address: str | None) -> bool:
    """Whether Ray's workers are on a cluster that runs already, which may be on other machines."""
    from evonas.workers.executors.ray_cluster import cluster_address

    return cluster_address(ray_address) is not None


def check_executor(executor: str, **workers: Unpack[Workers]) -> None:
    """Raises UsageError for a name that is no executor's, or a number of workers, CPUs or GPUs that makes no sense."""
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    counts = (workers.get("workers"), workers.get("cpus_per_worker"), workers.get("recycle_after"))
    for name, value in zip(("workers", "cpus_per_worker", "recycle_after"), counts, strict=True):
        if value is not None and value < 1:
            raise UsageError(f"{name} should be at least 1, not {value}")
    gpus = workers.get("gpus_per_worker")
    if gpus is not None and not (0.0 <= gpus <= 1.0 or gpus in range(2, 1000)):
        raise UsageError(f"gpus_per_worker should be a share of a GPU or a whole number, not {gpus:g}")
