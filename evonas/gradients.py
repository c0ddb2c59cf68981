"""The functions of `arithmetic.py` as PyTorch's autograd knows them, each with its derivative."""
# ruff: noqa: D102  the methods are those that autograd asks for

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from evonas.arithmetic import count, mean

if TYPE_CHECKING:
    from torch import Tensor


class Maximum(torch.autograd.Function):
    """max(a, b); at a tie each side gets half of the gradient, as in `torch.maximum`."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return torch.maximum(a, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,) = gradients
        a, b = ctx.saved_tensors
        share = torch.sign(a - b).add_(1.0).mul_(0.5)  # 1 where a is larger, 0 where b is, 1/2 at a tie
        to_a = gradient * share
        return (
            to_a.sum_to_size(a.shape) if ctx.needs_input_grad[0] else None,
            (gradient - to_a).sum_to_size(b.shape) if ctx.needs_input_grad[1] else None,
        )


class AwayFromZero(torch.autograd.Function):
    """y moved away from 0 to ±eps, keeping its sign (+ for 0); no gradient where it was moved."""

    @staticmethod
    def forward(y: Tensor, eps: float) -> Tensor:
        # Adding 0 turns -0 into 0, whose sign counts as +.
        return torch.copysign(y.abs().clamp_(min=eps), y + 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        y, moved = ctx.saved_tensors
        stayed = 1 - torch.sign((moved - y).detach().abs_())  # y is returned bit for bit outside the clamp
        return gradients[0] * stayed, None


class Quotient(torch.autograd.Function):
    """a / b: d/da = 1/b and d/db = -(a/b)/b, with the quotient taken from forward."""

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        return a / b

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b, quotient = ctx.saved_tensors
        to_a = gradients[0] / b
        return (
            to_a.sum_to_size(a.shape) if ctx.needs_input_grad[0] else None,
            -(to_a * quotient).sum_to_size(b.shape) if ctx.needs_input_grad[1] else None,
        )


class MeanSquare(torch.autograd.Function):
    """mean of (x - centre)² over some axes, centre being 0 or the mean: the gradient is 2 (x - centre) / n.

    The centre's own dependence on x contributes nothing, because the deviations sum to 0.
    """

    @staticmethod
    def forward(x: Tensor, dims: tuple[int, ...], centred: bool) -> Tensor:
        deviation = x - mean(x, dims) if centred else x
        return mean(deviation * deviation, dims)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, tuple[int, ...], bool], output: Tensor) -> None:
        x, ctx.dims, ctx.centred = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        deviation = x - mean(x, ctx.dims) if ctx.centred else x
        return deviation * (gradients[0] * (2 / count(x, ctx.dims))), None, None
