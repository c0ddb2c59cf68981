"""Unified Normalization (Yang et al. 2022, "Unified Normalization for Accelerating and Stabilizing Transformers").

It divides by the root of the geometric mean of the mean squares of the last M batches, which single outliers move
little. The gradient follows from running averages (equations 6 to 9): with z = x / σ and the gradient g of z,

    dx = (g - ψ z) / σ,    ψ ← α ψ + (1 - α) · mean over the last M batches of mean(g z).

A batch counts as an outlier if, for a channel, the arithmetic mean of the last M mean squares exceeds the geometric one
by more than M times the variance of their roots. It is then normalised by its own mean square, with its exact gradient.
As in the released code, the variance is over all channels, and without the batch itself: with it, the bound always
holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evonas.layers.modules.channel_layer import column, mean_square
from evonas.layers.modules.running_square import RunningSquareLayer

_TINY = 1e-30


class UnifiedNorm(RunningSquareLayer):
    """Unified Normalization, whose ψ is `running_gradient`.

    Args:
        channels, dim, eps, alpha: as in `RunningSquareLayer`.
        window: M.
        warm_up: as in `RunningSquareLayer`, at least M. The released code has 4,000 steps, for trainings of hundreds of
            thousands.
        filtration: whether outliers are left out. The paper does so for images, and not for text.

    Attributes:
        squares, gradients: mean(x²) and mean(g z) of the last M batches; (M, c).
    """

    squares: Tensor
    gradients: Tensor

    def __init__(
        self,
        channels: int,
        dim: int = 1,
        eps: float = 1e-5,
        *,
        window: int = 4,
        alpha: float = 0.9,
        warm_up: int = 20,
        filtration: bool | None = None,
    ) -> None:
        super().__init__(channels, dim, eps, alpha, max(warm_up, window))
        self.window = window
        self.filtration = dim == 1 if filtration is None else filtration
        for name in ("squares", "gradients"):
            self.register_buffer(name, torch.zeros(window, channels))

    def trained(self, x: Tensor, step: int) -> Tensor:
        """Return x / σ."""
        own = mean_square(x.detach())
        place = step % self.window
        spread = self.squares.sqrt().var() if self.squares.numel() > 1 else torch.zeros(())
        self.squares[place] = own.to(self.squares)
        is_outlier = False
        if self.filtration and step >= self.warm_up:
            apart = self.squares.mean(0) - _geometric_mean(self.squares)
            is_outlier = bool((apart > self.window * spread).any())
        if is_outlier:
            self.squares[place] = self.running_square
        by_itself = is_outlier or step < self.warm_up
        square = own if by_itself else _geometric_mean(self.squares).to(own)
        self.running_square.lerp_(square.to(self.running_square), 1 - self.alpha)
        found: Tensor = _Averaged.apply(x, (square + self.eps).sqrt().to(x), self, place, by_itself, is_outlier)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return found


def _geometric_mean(squares: Tensor) -> Tensor:
    return squares.clamp_min(_TINY).log().mean(0).exp()


class _Averaged(torch.autograd.Function):
    """x / σ, whose gradient follows from ψ instead of from σ."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, sigma: Tensor, layer: UnifiedNorm, place: int, by_itself: bool, is_outlier: bool
    ) -> Tensor:
        z = x / column(sigma)
        ctx.save_for_backward(z, sigma)
        ctx.layer, ctx.place, ctx.by_itself, ctx.is_outlier = layer, place, by_itself, is_outlier
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        z, sigma = ctx.saved_tensors
        layer, own = ctx.layer, (g * z).mean((0, 2, 3))
        layer.gradients[ctx.place] = layer.running_gradient if ctx.is_outlier else own.to(layer.gradients)
        recent = own.to(layer.gradients) if ctx.by_itself else layer.gradients.mean(0)
        layer.running_gradient.lerp_(recent, 1 - layer.alpha)
        psi = own if ctx.is_outlier else layer.running_gradient.to(z)
        return (g - column(psi) * z) / column(sigma), None, None, None, None, None
