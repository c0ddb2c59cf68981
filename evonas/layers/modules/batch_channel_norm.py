"""Batch-Channel Normalization (Khaled et al. 2023, arXiv 2312.00596): a trained mixture of BatchNorm and LayerNorm.

For each channel it is ι BN(x) + (1 - ι) LN(x), without scale and shift of their own. LayerNorm is over the channels and
positions of a sample of images, and over the channels of each token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.layers.modules.channel_layer import ChannelLayer, column


class BatchChannelNorm(ChannelLayer):
    """Batch-Channel Normalization.

    Args:
        channels, dim, eps: as in `ChannelLayer`.

    Attributes:
        share: ι, starting at 1, BatchNorm alone; (c,).
        running_mean, running_var: of evaluation, as in `nn.BatchNorm2d`; (c,).
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, dim: int = 1, eps: float = 1e-5) -> None:
        super().__init__(channels, dim, eps)
        self.share = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def computed(self, x: Tensor) -> Tensor:
        """Return the mixture."""
        if x.numel() == 0:
            return x
        by_batch = F.batch_norm(x, self.running_mean, self.running_var, training=self.training, eps=self.eps)
        over = (1,) if self.dim == -1 else (1, 2, 3)
        variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
        by_sample = (x - mean) * (variance + self.eps).rsqrt()
        share = column(self.share)
        return share * by_batch + (1 - share) * by_sample
