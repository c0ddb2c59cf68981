"""What the layers of this room have in common: images or tokens in, a scale and shift for each channel at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from evonas.layers.planes import as_planes, planes_as_tokens, tokens_as_planes


class ChannelLayer(nn.Module, ABC):
    """A layer that keeps the shape and type of its input, (b, c, *positions) or (b, *positions, c).

    Args:
        channels: c.
        dim: where the channels are: 1, or -1 for the last axis, as of tokens.
        eps: is added to variances and mean squares.

    Attributes:
        weight, bias: scale, starting at 1, and shift, starting at 0; (c,).
        mixes_positions: whether a token sees others through it in training, which a causal network does not allow.
    """

    mixes_positions = True

    def __init__(self, channels: int, dim: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.channels, self.dim, self.eps = channels, dim, eps
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    @abstractmethod
    def computed(self, x: Tensor) -> Tensor:
        """Return the layer of x, (b, c, h, w), in float32 or float64, without scale and shift."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer of x."""
        planes = tokens_as_planes(x) if self.dim == -1 else as_planes(x)
        values = planes if planes.dtype == torch.float64 else planes.float()
        found = self.computed(values) * column(self.weight) + column(self.bias)
        found = found.to(x.dtype)
        return planes_as_tokens(found, x) if self.dim == -1 else found.reshape(x.shape)

    def extra_repr(self) -> str:
        """Return the arguments."""
        return f"{self.channels}, dim={self.dim}, eps={self.eps}"


def column(values: Tensor) -> Tensor:
    """View one value for each channel, (c,), as (c, 1, 1)."""
    return values.view(-1, 1, 1)


def mean_square(x: Tensor) -> Tensor:
    """Return the mean of x², (b, c, h, w), for each channel over samples and positions, (c,)."""
    return x.square().mean((0, 2, 3))
