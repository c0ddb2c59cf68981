"""PowerNorm (Shen et al. 2020, "PowerNorm: Rethinking Batch Normalization in Transformers", arXiv 2003.07845).

It divides by the root of a running mean square, ψ² ← α ψ² + (1 - α) mean(x²) for each channel, in training as well, so
that no batch decides by itself. Its gradient is approximated (algorithm 2): with z = x / ψ and the gradient g of z,

    dx = (g - ν z) / ψ,    ν ← ν (1 - (1 - α) mean(z²)) + (1 - α) mean(g z).

In the first steps ψ is that of the batch, as in the released code.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evonas.layers.modules.channel_layer import column, mean_square
from evonas.layers.modules.running_square import RunningSquareLayer


class PowerNorm(RunningSquareLayer):
    """PowerNorm, whose ψ² and ν are `running_square` and `running_gradient`.

    Args:
        channels, dim, eps, alpha: as in `RunningSquareLayer`.
        warm_up: likewise. The released code has 10,000 steps, for trainings of hundreds of thousands.
    """

    def __init__(
        self, channels: int, dim: int = 1, eps: float = 1e-5, *, alpha: float = 0.9, warm_up: int = 20
    ) -> None:
        super().__init__(channels, dim, eps, alpha, warm_up)

    def trained(self, x: Tensor, step: int) -> Tensor:
        """Return x / ψ."""
        own = mean_square(x.detach())
        square = own if step < self.warm_up else self.running_square.clone()
        self.running_square.lerp_(own.to(self.running_square), 1 - self.alpha)
        found: Tensor = _Approximate.apply(x, (square + self.eps).sqrt().to(x), self.running_gradient, self.alpha)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return found


class _Approximate(torch.autograd.Function):
    """x / ψ, whose gradient follows from the running ν instead of from ψ."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, psi: Tensor, nu: Tensor, alpha: float) -> Tensor:
        z = x / column(psi)
        ctx.save_for_backward(z, psi)
        ctx.nu, ctx.alpha = nu, alpha  # ν changes in place with each backward pass, which autograd must not check
        return z

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None, None]:
        z, psi = ctx.saved_tensors
        nu = ctx.nu.to(z)
        dx = (g - column(nu) * z) / column(psi)
        share = 1 - ctx.alpha
        ctx.nu.copy_(nu * (1 - share * mean_square(z)) + share * (g * z).mean((0, 2, 3)))
        return dx, None, None, None
