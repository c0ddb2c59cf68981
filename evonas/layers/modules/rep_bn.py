"""PRepBN (Guo et al. 2024, "SLAB: Efficient Transformers with …", arXiv 2405.11582).

A transformer is trained with LayerNorm, which gives way to a batch normalisation that keeps a share η of its input,

    λ LN(x) + (1 - λ) (BN(x) + η x),    λ = λ₀ (1 - step / steps),

and has the latter alone in evaluation. That is a scale and shift for each channel, so the linear map behind it can do
its work (`folded`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PRepBN(nn.Module):
    """Progressive re-parameterised batch normalisation.

    Args:
        channels: c.
        dim: where the channels are: 1, or -1 for the last axis.
        eps: is added to variances.
        steps: over how many steps LayerNorm gives way.
        first: λ₀.

    Attributes:
        layer_norm: over the channels of each position, with scale and shift.
        batch_norm: over samples and positions, with scale and shift.
        eta: η, one number, starting at 1.
    """

    mixes_positions = True
    done: Tensor

    def __init__(
        self, channels: int, dim: int = 1, eps: float = 1e-5, *, steps: int = 1000, first: float = 1.0
    ) -> None:
        super().__init__()
        self.dim, self.steps, self.first = dim, steps, first
        self.layer_norm, self.batch_norm = nn.LayerNorm(channels, eps), nn.BatchNorm1d(channels, eps)
        self.eta = nn.Parameter(torch.ones(()))
        self.register_buffer("done", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer of x, (b, c, *positions) or (b, *positions, c), in the same shape and type."""
        tokens = x if self.dim == -1 else x.movedim(1, -1)
        rows = tokens.reshape(-1, tokens.shape[-1])
        share = max(0.0, self.first * (1 - int(self.done) / self.steps)) if self.training else 0.0
        if self.training:
            self.done += 1
        found: Tensor = self._mixed(rows, share).to(x.dtype).view(tokens.shape)
        return found if self.dim == -1 else found.movedim(-1, 1)

    def _mixed(self, rows: Tensor, share: float) -> Tensor:
        if not rows.numel():
            return rows
        by_batch: Tensor = self.batch_norm(rows)  # at λ = 1 too, for its running values
        mixed = (1 - share) * (by_batch + self.eta * rows)
        return mixed + share * self.layer_norm(rows) if share else mixed

    @torch.no_grad()
    def folded(self, linear: nn.Linear) -> nn.Linear:
        """Return one linear map of what this layer and then a linear map make of an input in evaluation.

        Args:
            linear: maps the channels of this layer.
        """
        norm = self.batch_norm
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        shift = norm.bias - scale * norm.running_mean
        joined = nn.Linear(linear.in_features, linear.out_features, device=linear.weight.device)
        joined.to(linear.weight.dtype)
        joined.weight.copy_(linear.weight * (scale + self.eta))
        bias = linear.weight @ shift
        joined.bias.copy_(bias if linear.bias is None else bias + linear.bias)
        return joined
