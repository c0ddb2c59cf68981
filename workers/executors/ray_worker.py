"""The actor of a Ray worker: it holds the data set, and evaluates one task at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from evonas.settings.plugins import Source, load_file
from evonas.workers.executors.ray_resources import WorkerResources

if TYPE_CHECKING:
    from evonas.evolution.executor import Task
    from evonas.settings.candidate import Evaluation
    from evonas.workers.data.dataset import DataSet

CONTEXT_BYTES = 512 * 2**20
"""GPU memory that each process uses besides PyTorch's allocations: the CUDA context and the code of libraries."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker reports when it has started.

    Attributes:
        version: the version of evonas on the worker's node.
        node: Ray's id of the node.
    """

    version: str
    node: str


class Worker:
    """The actor. The name of its process shows the task and its stage: ``ray::candidate 17: resnet-small``."""

    def __init__(self, data: DataSet, needs: WorkerResources, device: str, files: Sequence[Source] = ()) -> None:
        import torch

        from evonas.workers.executors.allocator import keep_freed_memory
        from evonas.workers.trial.training import check_device

        for source in files:
            load_file(source)
        check_device(device)
        torch.set_num_threads(needs.cpus)
        keep_freed_memory()
        if device == "cuda":
            limit_gpu_memory(float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)))
        self._data = data

    def ready(self) -> WorkerInfo:
        """Return once the process has started and has its data."""
        from evonas import __version__

        return WorkerInfo(__version__, ray.get_runtime_context().get_node_id())

    def evaluate(self, task: Task) -> Evaluation:
        """Evaluate a task, and name the process after each stage."""
        from evonas.workers.trial.evaluate import evaluate_task

        return evaluate_task(task, self._data, lambda stage: _name_process(f"{task.name}: {stage}"))


def limit_gpu_memory(assigned: float) -> float | None:
    """Limit this process to its share of a GPU's memory, so that one worker cannot starve the others.

    The memory that a process uses besides PyTorch's tensors is subtracted from its share, up to half of the share.

    Args:
        assigned: GPUs that Ray has assigned to this process; below 1 for a share of one GPU.

    Returns:
        The share of the GPU's memory that PyTorch may allocate; None if there is no limit.
    """
    import torch

    if not 0.0 < assigned < 1.0:
        return None
    total = torch.cuda.get_device_properties(0).total_memory
    share = max(assigned - CONTEXT_BYTES / total, assigned / 2)
    torch.cuda.set_per_process_memory_fraction(share, 0)
    return share


def start_worker(name: str, data: Any, needs: WorkerResources, device: str, files: Sequence[Source] = ()) -> Any:
    """Create an actor, and return its handle. Ray starts the process when a node has room for it.

    Args:
        name: the name of the actor in Ray's dashboard.
        data: a reference to the data set in Ray's object store.
        needs: the resources that Ray reserves for the actor.
        device: the device that it trains on.
        files: users' files that it loads.
    """
    # Ray must not retry by itself, because the search counts attempts.
    options: Any = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0, max_task_retries=0)
    return options(Worker).options(name=name).remote(data, needs, device, files)


def _name_process(title: str) -> None:
    """Change the name of the process in ``ps`` and in Ray's dashboard. Ray restores it when the task ends."""
    change = getattr(ray._raylet, "setproctitle", None)  # Ray itself uses this, and offers no public function
    if change is not None:
        change(f"ray::{title}")
