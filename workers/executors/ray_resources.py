"""How many workers fit on the nodes of a Ray cluster, which need not be alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.errors import UsageError

NodeResources = Mapping[str, float]
"""Of one node, as Ray counts them: ``{"CPU": 8.0, "GPU": 2.0, …}``."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What Ray keeps for each worker.

    Attributes:
        cpus: CPUs, and threads that the worker computes with.
        gpus: a share of one GPU, or a whole number of them.
    """

    cpus: int = 1
    gpus: float = 0.0

    def __str__(self) -> str:
        return _words(self.cpus, self.gpus)


@dataclass(frozen=True, slots=True)
class Room:
    """Workers that there will be.

    Attributes:
        workers: how many are wanted.
        fit: how many of them have room now.
        nodes: the cluster in a few words.
    """

    workers: int
    fit: int
    nodes: str

    def note(self, needs: Needs) -> str:
        """What to tell the user where workers wait for room; empty where all fit."""
        if self.fit == self.workers:
            return ""
        return (
            f"{self.workers} workers were asked for, each with {needs}, and {self.fit or 'none'} of them fit now "
            f"({self.nodes}); the others start as nodes join"
        )


def on_node(node: NodeResources, needs: Needs) -> int:
    """How many workers fit on one node, were it empty."""
    cpus, gpus = int(node.get("CPU", 0)), int(node.get("GPU", 0))
    by_cpus = cpus // needs.cpus
    if needs.gpus == 0.0:
        return by_cpus
    if needs.gpus < 1.0:
        # A share is of one GPU: two workers at 0.4 leave a fifth of each GPU idle. The small number is for
        # shares such as 0.1, ten of which should fit.
        return min(by_cpus, gpus * int(1.0 / needs.gpus + 1e-6))
    return min(by_cpus, gpus // int(needs.gpus))


def room_for(nodes: Sequence[NodeResources], workers: int | None, needs: Needs, *, grows: bool = False) -> Room:
    """As many workers as were asked for, or as many as fit.

    Args:
        nodes: of the cluster.
        workers: how many were asked for, if any were.
        needs: of each.
        grows: whether nodes may join, so that more may be asked for than fit now.

    Raises:
        UsageError: when not as many fit, or none.
    """
    fit = sum(on_node(node, needs) for node in nodes)
    told = _nodes(nodes)
    asked = "a worker was asked for" if workers is None else f"{workers} workers were asked for"
    if (workers or 1) > fit and not (grows and workers):
        smaller = "--gpus-per-worker or --cpus-per-worker" if needs.gpus else "--cpus-per-worker"
        fewer = (
            f"use --workers 1 to {fit}, or a smaller {smaller}"
            if fit
            else f"use other machines, or a smaller {smaller}"
        )
        raise UsageError(f"{asked}, each with {needs}, and Ray has room for {fit or 'none'} ({told}); {fewer}")
    return Room(workers or fit, min(workers or fit, fit), told)


def _nodes(nodes: Sequence[NodeResources]) -> str:
    """Nodes with what they have, alike ones together."""
    kinds = Counter((int(node.get("CPU", 0)), node.get("GPU", 0.0)) for node in nodes)
    told = [f"{count} node{'s' * (count > 1)} with {_words(*kind)}" for kind, count in sorted(kinds.items())]
    return ", ".join(told) or "no nodes"


def _words(cpus: int, gpus: float) -> str:
    text = f"{cpus} CPU{'s' * (cpus != 1)}"
    return f"{text} and {gpus:g} GPU{'s' * (gpus != 1)}" if gpus else text
