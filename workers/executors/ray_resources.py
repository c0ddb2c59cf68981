"""How many workers fit on the nodes of a Ray cluster, which may differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.errors import UsageError

NodeResources = Mapping[str, float]
"""The resources of a node as Ray reports them, such as ``{"CPU": 8.0, "GPU": 2.0, …}``."""


@dataclass(frozen=True, slots=True)
class WorkerResources:
    """The resources that Ray reserves for each worker.

    Attributes:
        cpus: number of CPUs, and of threads that the worker computes with.
        gpus: a share of one GPU, or a whole number of GPUs.
    """

    cpus: int = 1
    gpus: float = 0.0

    def __str__(self) -> str:
        return _described(self.cpus, self.gpus)


@dataclass(frozen=True, slots=True)
class ClusterCapacity:
    """The number of workers, and how many of them fit on the cluster now.

    Attributes:
        workers: number of workers.
        fit: number of them that fit now; the others wait for nodes to join.
        nodes: a short description of the nodes.
    """

    workers: int
    fit: int
    nodes: str

    def note(self, needs: WorkerResources) -> str:
        """Return a message for the user if some workers have to wait; an empty text if all fit."""
        if self.fit == self.workers:
            return ""
        return (
            f"{self.workers} workers were asked for, each with {needs}, and {self.fit or 'none'} of them fit now "
            f"({self.nodes}); the others start as nodes join"
        )


def workers_on_node(node: NodeResources, needs: WorkerResources) -> int:
    """Return how many workers fit on an empty node."""
    cpus, gpus = int(node.get("CPU", 0)), int(node.get("GPU", 0))
    by_cpus = cpus // needs.cpus
    if needs.gpus == 0.0:
        return by_cpus
    if needs.gpus < 1.0:
        # A worker's share is of a single GPU, so two workers at 0.4 leave a fifth of the GPU idle. The small number
        # makes room for rounding: ten shares of 0.1 must fit.
        return min(by_cpus, gpus * int(1.0 / needs.gpus + 1e-6))
    return min(by_cpus, gpus // int(needs.gpus))


def cluster_capacity(
    nodes: Sequence[NodeResources], workers: int | None, needs: WorkerResources, *, grows: bool = False
) -> ClusterCapacity:
    """Choose the number of workers: the requested number, or as many as fit.

    Args:
        nodes: the nodes of the cluster.
        workers: the requested number of workers; None for as many as fit.
        needs: the resources of each worker.
        grows: whether nodes may join, so that more workers than fit now may be requested.

    Raises:
        UsageError: Fewer workers fit than were requested, or none fits.
    """
    fit = sum(workers_on_node(node, needs) for node in nodes)
    described = _nodes(nodes)
    asked = "a worker was asked for" if workers is None else f"{workers} workers were asked for"
    if (workers or 1) > fit and not (grows and workers):
        smaller = "--gpus-per-worker or --cpus-per-worker" if needs.gpus else "--cpus-per-worker"
        fewer = (
            f"use --workers 1 to {fit}, or a smaller {smaller}"
            if fit
            else f"use other machines, or a smaller {smaller}"
        )
        raise UsageError(f"{asked}, each with {needs}, and Ray has room for {fit or 'none'} ({described}); {fewer}")
    return ClusterCapacity(workers or fit, min(workers or fit, fit), described)


def _nodes(nodes: Sequence[NodeResources]) -> str:
    """Describe the nodes and their resources, with equal nodes counted together."""
    kinds = Counter((int(node.get("CPU", 0)), node.get("GPU", 0.0)) for node in nodes)
    groups = [f"{count} node{'s' * (count > 1)} with {_described(*kind)}" for kind, count in sorted(kinds.items())]
    return ", ".join(groups) or "no nodes"


def _described(cpus: int, gpus: float) -> str:
    text = f"{cpus} CPU{'s' * (cpus != 1)}"
    return f"{text} and {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else text
