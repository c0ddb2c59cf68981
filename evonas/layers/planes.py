"""Inputs of any rank as planes.

Every statistic takes either single channels or the whole plane of a channel, so the positions behind the channels are
one plane, however many axes they have.
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
