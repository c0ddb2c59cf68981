"""Makes the executor that a user asks for, and declares the options for its workers.

Workers and Ray are imported inside functions, only when they are used.
"""

from __future__ import annotations

from typing import Annotated, TypedDict, Unpack

from evonas.errors import UsageError, unknown
from evonas.evolution.executor import Executor
from evonas.settings import plugins
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

EXECUTORS = ("ray", "local")


class Workers(TypedDict, total=False):
    """The options for Ray's workers; `WORKER_DEFAULTS` has the value of those that are left out.

    The texts are also the help texts of the command line.
    """

    workers: Annotated[int | None, "Number of Ray workers; by default as many as fit on the available CPUs and GPUs."]
    ray_address: Annotated[
        str | None,
        "A running Ray cluster: HOST:PORT, or 'auto' on one of its machines (docs/CLUSTER.md). By default the address "
        "in RAY_ADDRESS, which `ray job submit` sets, or else a Ray that is started on this machine.",
    ]
    gpus_per_worker: Annotated[
        float | None,
        "GPUs per Ray worker, such as 0.25 for four workers on one GPU; by default 1 when training on cuda, else 0.",
    ]
    cpus_per_worker: Annotated[int, "CPUs per Ray worker, and the number of threads that it computes with."]
    recycle_after: Annotated[
        int | None, "Replace a Ray worker by a new process after this many candidates; by default never."
    ]


WORKER_DEFAULTS: Workers = {
    "workers": None,
    "ray_address": None,
    "gpus_per_worker": None,
    "cpus_per_worker": 1,
    "recycle_after": None,
}


def make_executor(
    executor: str | Executor,
    protocol: EvaluationProtocol,
    *,
    deadline: float = RunConfig.deadline,
    **workers: Unpack[Workers],
) -> Executor:
    """Makes an executor by name. An executor that is passed instead of a name is returned as it is.

    Args:
        executor: a name in `EXECUTORS`, or an executor.
        protocol: the protocol whose data set the workers train on.
        deadline: seconds after which a task is stopped.
        workers: the options for Ray's workers; see `Workers`.

    Raises:
        UsageError: if the name is unknown, Ray is not available, or training takes place on this machine and it lacks
            the protocol's device.
    """
    plugins.load_recorded_files(protocol.plugins)
    if isinstance(executor, Executor):
        return executor
    check_executor(executor, **workers)
    asked: Workers = {**WORKER_DEFAULTS, **workers}
    from evonas.workers.trial.evaluate import load_data
    from evonas.workers.trial.training import check_device

    if executor == "local" or not joins_cluster(asked["ray_address"]):
        check_device(protocol.device)  # on a cluster, the machine that coordinates needs no GPU
    data = load_data(protocol)
    if executor == "local":
        from evonas.workers.executors.local_executor import LocalExecutor

        return LocalExecutor(data)
    from evonas.workers.executors.ray_executor import RayExecutor

    gpus = asked["gpus_per_worker"]
    if gpus is None:
        gpus = 1.0 if protocol.device == "cuda" else 0.0
    return RayExecutor(
        data,
        workers=asked["workers"],
        address=asked["ray_address"],
        deadline=deadline,
        gpus_per_worker=gpus,
        cpus_per_worker=asked["cpus_per_worker"],
        recycle_after=asked["recycle_after"],
        device=protocol.device,
        files=plugins.loaded_files(),
    )


def joins_cluster(ray_address: str | None) -> bool:
    """Whether Ray's workers run on an existing cluster, which may be on other machines."""
    from evonas.workers.executors.ray_cluster import cluster_address

    return cluster_address(ray_address) is not None


def check_executor(executor: str, **workers: Unpack[Workers]) -> None:
    """Checks the name of an executor and the options for its workers.

    Raises:
        UsageError: if the name is unknown, or a number of workers, CPUs, GPUs or candidates is out of range.
    """
    if executor not in EXECUTORS:
        raise unknown("executor", executor, EXECUTORS)
    counts = (workers.get("workers"), workers.get("cpus_per_worker"), workers.get("recycle_after"))
    for name, value in zip(("workers", "cpus_per_worker", "recycle_after"), counts, strict=True):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, not {value}")
    gpus = workers.get("gpus_per_worker")
    if gpus is not None and not (0.0 <= gpus <= 1.0 or gpus in range(2, 1000)):
        raise UsageError(f"gpus_per_worker must be an integer or a fraction between 0 and 1, not {gpus:g}")
