"""The functions and methods that exported files call; the printer copies those that a layer uses.

They are real code here so that type checkers and tests see them. They use only torch and each other.
`evonas.kernels.export.torch_source` copies their text, and that of the functions that they call. The sources in
`evonas.language.primitive_table` may call any of them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def kept_from_zero(y: Tensor, eps: float) -> Tensor:
    """`y` where abs(y) >= eps, else eps with the sign of `y` (+ for 0), there without gradient."""
    edge = torch.full_like(y, eps)
    return torch.where(y.abs() < eps, torch.where(y < 0, -edge, edge), y)


def mean_in_groups(values: Tensor, groups: int) -> Tensor:
    """The mean over the channels and plane of a group, repeated for each channel."""
    channels = values.shape[1]
    if channels == 1:  # the same in every channel of a group
        return values.mean((2, 3), keepdim=True)
    grouped: Tensor = values.unflatten(1, (groups, channels // groups))
    means = grouped.mean((2, 3, 4))
    return means.repeat_interleave(channels // groups, dim=1)[:, :, None, None]


def var_in_groups(values: Tensor, groups: int) -> Tensor:
    """The biased variance over the channels and plane of a group, repeated for each channel."""
    channels = values.shape[1]
    if channels == 1:  # the same in every channel of a group
        return values.var((2, 3), correction=0, keepdim=True)
    grouped: Tensor = values.unflatten(1, (groups, channels // groups))
    variances = grouped.var((2, 3, 4), correction=0)
    return variances.repeat_interleave(channels // groups, dim=1)[:, :, None, None]


def mean_in_heads(values: Tensor, groups: int) -> Tensor:
    """The mean over the channels of a group at each position, repeated for each channel."""
    channels = values.shape[1]
    if channels == 1:  # the same in every channel of a group
        return values
    grouped: Tensor = values.unflatten(1, (groups, channels // groups))
    return grouped.mean(2).repeat_interleave(channels // groups, dim=1)


def var_in_heads(values: Tensor, groups: int) -> Tensor:
    """The biased variance over the channels of a group at each position, repeated for each."""
    channels = values.shape[1]
    if channels == 1:  # the same in every channel of a group
        return values - values
    grouped: Tensor = values.unflatten(1, (groups, channels // groups))
    return grouped.var(2, correction=0).repeat_interleave(channels // groups, dim=1)


def groups_dividing(channels: int, groups: int) -> int:
    """`groups`, lowered until it divides `channels`."""
    groups = min(groups, channels)
    while channels % groups:
        groups -= 1
    return groups


def per_channel(vector: Tensor, dtype: torch.dtype) -> Tensor:
    """A vector of one value a channel as (1, c, 1, 1), or a scalar as (1, 1, 1, 1)."""
    return vector.to(dtype).view(1, -1, 1, 1)


def as_planes(x: Tensor) -> Tensor:
    """`x`, (b, c, *positions) of another rank, as (b, c, h, w): all positions are one plane."""
    if x.dim() == 5:
        return x.flatten(2, 3)
    return x[:, :, None, None] if x.dim() == 2 else x.unsqueeze(2)


def tokens_as_planes(x: Tensor) -> Tensor:
    """`x`, (b, *positions, c), as (b, c, h, w) with channels last in memory."""
    if x.dim() == 4:
        return x.permute(0, 3, 1, 2)
    rows = x.flatten(1, -2) if x.dim() > 2 else x.unsqueeze(1)
    return rows.transpose(1, 2).unsqueeze(-1)


def laid_out_like(y: Tensor, x: Tensor) -> Tensor:
    """`y` with channels last in memory where `x` is so and in no other way, else contiguous."""
    if x.is_contiguous() or not x.is_contiguous(memory_format=torch.channels_last):
        return y.contiguous()
    return y.contiguous(memory_format=torch.channels_last)


class Tracking(nn.Module):
    """Methods of a layer with batch statistics, which keeps their running values in buffers."""

    momentum: float

    def _batch_mean(self, values: Tensor, running: Tensor) -> Tensor:
        """The mean over (b, h, w) in training, which updates `running`; in evaluation `running`."""
        if not self.training:
            return per_channel(running, values.dtype)
        mean = values.mean((0, 2, 3), keepdim=True)
        self._update(running, mean)
        return mean

    def _batch_square(self, values: Tensor, running: Tensor) -> Tensor:
        """The mean square over (b, h, w) in training, which updates `running`; else `running`."""
        if not self.training:
            return per_channel(running, values.dtype)
        mean_square = values.square().mean((0, 2, 3), keepdim=True)
        self._update(running, mean_square)
        return mean_square

    def _batch_var(self, values: Tensor, running: Tensor, count: int) -> Tensor:
        """The biased variance over (b, h, w) in training; in evaluation `running`.

        In training it updates `running` with the unbiased variance of `count` values a channel, as
        nn.BatchNorm2d does; of a single value it is the biased one.
        """
        if not self.training:
            return per_channel(running, values.dtype)
        variance = values.var((0, 2, 3), correction=0, keepdim=True)
        self._update(running, variance * (count / max(count - 1, 1)))
        return variance

    @torch.no_grad()
    def _update(self, running: Tensor, batch: Tensor) -> None:
        """Move `running` towards the batch's values by the weight `momentum`."""
        kept = (1 - self.momentum) * running.to(batch.dtype)
        running.copy_(kept + self.momentum * batch.flatten())
