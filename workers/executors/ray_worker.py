"""What lives in the process of a Ray worker: the data set, and the evaluation of one task at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from evonas.settings.plugins import Source, load
from evonas.workers.executors.ray_resources import Needs

if TYPE_CHECKING:
    from evonas.evolution.executor import Task
    from evonas.settings.candidate import Evaluation
    from evonas.workers.data.dataset import DataSet

CONTEXT_BYTES = 512 * 2**20
"""GPU memory that each process takes beside what PyTorch allocates: CUDA's context, and the libraries' code."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a worker says of itself once it is up.

    Attributes:
        version: of evonas, where the worker runs.
        node: Ray's id of its node.
    """

    version: str
    node: str


class Worker:
    """The actor. Its process is named for what it is at: ``ray::candidate 17: resnet-small``."""

    def __init__(self, data: DataSet, needs: Needs, device: str, files: Sequence[Source] = ()) -> None:
        import torch

        from evonas.workers.executors.allocator import keep_freed_memory
        from evonas.workers.trial.training import check_device

        for source in files:
            load(source)
        check_device(device)
        torch.set_num_threads(needs.cpus)
        keep_freed_memory()
        if device == "cuda":
            limit_gpu_memory(float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0.0)))
        self._data = data

    def ready(self) -> Greeting:
        """Returns once the process is up and has its data."""
        from evonas import __version__

        return Greeting(__version__, ray.get_runtime_context().get_node_id())

    def evaluate(self, task: Task) -> Evaluation:
        """See `evonas.workers.trial.evaluate.evaluate`."""
        from evonas.workers.trial.evaluate import evaluate_task

        return evaluate_task(task, self._data, lambda stage: _name_process(f"{task.name}: {stage}"))


def limit_gpu_memory(assigned: float) -> float | None:
    """Keeps this process to its share of a GPU's memory, so that one worker cannot starve those beside it.

    What a process takes beside PyTorch's tensors comes out of its share, but never more than half of it.

    Args:
        assigned: GPUs that Ray has assigned to this process; shares are below 1.

    Returns:
        The share of the GPU's memory that PyTorch may allocate, None where there is no limit.
    """
    import torch

    if not 0.0 < assigned < 1.0:
        return None
    total = torch.cuda.get_device_properties(0).total_memory
    share = max(assigned - CONTEXT_BYTES / total, assigned / 2)
    torch.cuda.set_per_process_memory_fraction(share, 0)
    return share


def start_worker(name: str, data: Any, needs: Needs, device: str, files: Sequence[Source] = ()) -> Any:
    """A handle of a new actor; Ray starts its process when a node has room.

    Args:
        name: in Ray's dashboard.
        data: reference of the data set in the object store.
        needs: what Ray keeps for it.
        device: where it trains.
        files: of the user's own, which it loads.
    """
    # Ray retries nothing by itself: attempts are counted by the search.
    options: Any = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0, max_task_retries=0)
    return options(Worker).options(name=name).remote(data, needs, device, files)


def _name_process(title: str) -> None:
    """Changes what ``ps`` and the dashboard's list of processes show; Ray changes it back when the task ends."""
    change = getattr(ray._raylet, "setproctitle", None)  # Ray does it with this, and offers nothing public
    if change is not None:
        change(f"ray::{title}")
