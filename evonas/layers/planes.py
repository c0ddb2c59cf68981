"""Inputs of any rank as planes.

Every statistic takes either single positions or the whole plane of a channel, so the positions are one plane, however
many axes they have, and whether they stand before the channels or behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

RANKS = range(2, 6)
"""The ranks of inputs: (b, c) and (b, c, *positions) with up to three axes of positions."""


def as_planes(x: Tensor) -> Tensor:
    """An input (b, c, *positions) as (b, c, h, w) with the same positions in the same order.

    It is a view of a contiguous x, and of one whose channels lie last in memory, which they then do in the result too.

    Args:
        x: of a rank in `RANKS`.
    """
    rank = x.dim()
    if rank == 4:
        return x
    if rank == 5:
        return x.flatten(2, 3)
    return x[:, :, None, None] if rank == 2 else x.unsqueeze(2)


def tokens_as_planes(x: Tensor) -> Tensor:
    """An input (b, *positions, c) of a rank of at least 2 as (b, c, h, w) with the same positions in the same order.

    It is a view of a contiguous x, with channels last in memory.
    """
    if x.dim() == 4:
        return x.permute(0, 3, 1, 2)
    rows = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    return rows.transpose(1, 2).unsqueeze(-1)


def planes_as_tokens(y: Tensor, x: Tensor) -> Tensor:
    """A value (b, c, h, w) in the shape of an input x, (b, *positions, c), contiguous."""
    return y.permute(0, 2, 3, 1).reshape(x.shape).contiguous()
