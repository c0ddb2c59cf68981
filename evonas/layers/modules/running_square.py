"""What PowerNorm and Unified Normalization have in common: the memory of earlier batches, and evaluation."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from evonas.layers.modules.channel_layer import ChannelLayer, column


class RunningSquareLayer(ChannelLayer):
    """A layer that divides by the root of a mean square which earlier batches share in.

    Args:
        channels, dim, eps: as in `ChannelLayer`.
        alpha: weight of earlier batches in the running values.
        warm_up: steps in which the mean square is that of the batch.

    Attributes:
        running_square: the mean square of evaluation, starting at 1; (c,).
        running_gradient: the running value that the gradient follows from, starting at 0; (c,).
        steps: batches so far.
    """

    running_square: Tensor
    running_gradient: Tensor
    steps: Tensor

    def __init__(self, channels: int, dim: int, eps: float, alpha: float, warm_up: int) -> None:
        super().__init__(channels, dim, eps)
        self.alpha, self.warm_up = alpha, warm_up
        self.register_buffer("running_square", torch.ones(channels))
        self.register_buffer("running_gradient", torch.zeros(channels))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def computed(self, x: Tensor) -> Tensor:
        """Return x over the root of the mean square: the running one in evaluation."""
        if not self.training or x.numel() == 0:
            return x / column((self.running_square + self.eps).sqrt())
        step = int(self.steps)
        self.steps += 1
        return self.trained(x, step)

    @abstractmethod
    def trained(self, x: Tensor, step: int) -> Tensor:
        """Return the layer of a batch in training, (b, c, h, w), whose number is counted from 0."""
