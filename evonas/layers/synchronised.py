"""Statistics over the batches of several processes, as `torch.nn.SyncBatchNorm` takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from evonas.language.autograd_functions import mean, mean_square
from evonas.language.primitive_table import Moment

if TYPE_CHECKING:
    from torch import Tensor

WORLD = "world"
"""All processes, whichever there are when a layer is called."""
_BATCH = (0, 2, 3)


def partners(group: Any) -> Any:
    """The process group to synchronise with; None where there is nothing to synchronise.

    Args:
        group: a process group, `WORLD`, or None.
    """
    if group is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    found = distributed.group.WORLD if group == WORLD else group
    return found if distributed.get_world_size(found) > 1 else None


def joint_moment(moment: Moment, value: Tensor, count: int, group: Any) -> tuple[Tensor, Tensor]:
    """The raw moment over (b, h, w) of the batches of all processes, and how many values each channel has in them.

    Args:
        moment: mean, mean of squares or biased variance.
        value: four-dimensional, and broadcast to (b, c, h, w).
        count: b·h·w of this process; processes may differ, and one may have none.
        group: the process group.

    Returns:
        (1, c, 1, 1) or (1, 1, 1, 1), the same in every process, and a tensor of one number.
    """
    if moment is Moment.RMS:
        return _joint(mean_square(value, _BATCH), count, group)
    centre, total = _joint(mean(value, _BATCH), count, group)
    if moment is Moment.MEAN:
        return centre, total
    # In two passes, as everywhere; the centre depends on x as well, and its share of the gradient sums to 0.
    return _joint(mean_square(value - centre, _BATCH), count, group)


def _joint(own: Tensor, count: int, group: Any) -> tuple[Tensor, Tensor]:
    """The mean of all processes, each with the weight of its count, from each process's own mean."""
    weight = own.new_full((1,), float(count))
    found: Tensor = _Sum.apply(torch.cat([own.flatten() * weight, weight]), group)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    total = found[-1:].detach()
    return (found[:-1] / total.clamp(min=1.0)).view(own.shape), total


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient, because the loss of every process depends on each summand."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Any) -> Tensor:
        ctx.group = group
        found = own.clone()
        distributed.all_reduce(found, group=group)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Of this function itself, so that there is a second derivative.
        found: Tensor = _Sum.apply(gradients[0], ctx.group)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
        return found, None
