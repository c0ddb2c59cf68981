"""The running values of a layer: one buffer for each statistic over the batch, its name, its start and its update."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from evonas.language.graph import Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment

if TYPE_CHECKING:
    from torch import Tensor

_NAMES = {Moment.MEAN: "running_mean", Moment.RMS: "running_square", Moment.STD: "running_var"}


def running_names(graph: Graph) -> dict[int, str]:
    """The buffer's name for each node over `bwh` that the output depends on, by node number."""
    names: dict[int, str] = {}
    for number in graph.operations:
        op = PRIMITIVES[graph.node(number).op]
        if op.index_set is IndexSet.BWH and op.moment is not None:
            name = _NAMES[op.moment]
            before = sum(other.startswith(name) for other in names.values())
            names[number] = f"{name}_{before}" if before else name
    return names


def starts(graph: Graph) -> dict[str, float]:
    """The value that each buffer starts at, by name: 0 for means, 1 for mean squares and variances."""
    return {
        name: 0.0 if PRIMITIVES[graph.node(number).op].moment is Moment.MEAN else 1.0
        for number, name in running_names(graph).items()
    }


def update(running: Tensor, raw: Tensor, moment: Moment, count: int, momentum: float | Tensor) -> None:
    """Moves a running value towards that of a batch, in place; an empty batch leaves it as it is.

    Args:
        running: the buffer, (c,).
        raw: the raw moment of the batch: mean, mean of squares or biased variance, c values in any shape.
        moment: which of these it is. A variance is kept unbiased, as `torch.nn.BatchNorm2d` keeps it; of a single
            value it stays biased.
        count: the number of values in each channel.
        momentum: the weight of the batch.
    """
    if count == 0:
        return
    with torch.no_grad():
        batch = raw.detach().flatten()
        if moment is Moment.STD and count > 1:
            batch = batch * (count / (count - 1))
        running.copy_((1 - momentum) * running.to(batch.dtype) + momentum * batch)
