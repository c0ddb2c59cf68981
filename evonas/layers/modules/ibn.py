"""IBN's split layer (Pan et al. 2018, "Two at Once", arXiv 1807.09441, figure 3a): InstanceNorm and BatchNorm.

The first half of the channels is normalised over the positions of each sample, the other half over the batch as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from evonas.layers.modules.channel_layer import ChannelLayer


class InstanceBatchNorm(ChannelLayer):
    """The split layer of IBN-Net.

    Args:
        channels, dim, eps: as in `ChannelLayer`. Of an odd number of channels the smaller part is InstanceNorm's.

    Attributes:
        running_mean, running_var: of evaluation, for the other half; (c - ⌊c / 2⌋,).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, dim: int = 1, eps: float = 1e-5) -> None:
        super().__init__(channels, dim, eps)
        self.by_instance = channels // 2
        self.register_buffer("running_mean", torch.zeros(channels - self.by_instance))
        self.register_buffer("running_var", torch.ones(channels - self.by_instance))

    def computed(self, x: Tensor) -> Tensor:
        """Return both halves."""
        if x.numel() == 0:
            return x
        if self.by_instance == 0:
            return self._by_batch(x)
        first, other = x[:, : self.by_instance], x[:, self.by_instance :]
        variance, mean = torch.var_mean(first, (2, 3), correction=0, keepdim=True)
        by_sample = (first - mean) * (variance + self.eps).rsqrt()
        return torch.cat([by_sample, self._by_batch(other)], 1)

    def _by_batch(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, training=self.training, eps=self.eps)
