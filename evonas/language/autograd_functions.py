"""Building blocks of the primitives as functions of PyTorch's autograd, each with its derivative.

Their values, gradients and second derivatives are those of the obvious spelling, but they make fewer passes over a
tensor; where something observes the operations, they are spelled so. On a CPU they also avoid `torch.where`,
`torch.var` and the backward pass of `torch.maximum`, whose code is not vectorised and is ten times slower than
arithmetic. Candidates are trained with these functions, so a search spends most of its time here.
"""
# ruff: noqa: D102  the methods are those of torch.autograd.Function

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import forward_ad

if TYPE_CHECKING:
    from torch import Tensor


def is_observed() -> bool:
    """Whether something besides autograd and torch.compile follows the operations.

    These are the transforms of torch.func, tangents of forward-mode differentiation, and tracers that write a program
    down. To them, operations that they do not know are opaque, and the ones of PyTorch are not.
    """
    return (
        torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]  # public, but torch leaves it untyped
        or torch.compiler.is_exporting()
    )


def count(x: Tensor, dims: tuple[int, ...]) -> int:
    """The number of values that a mean over `dims` averages, and 1 for an empty batch, whose means are 0."""
    return max(1, prod([x.shape[d] for d in dims]))


def mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over `dims`, which stay as axes of extent 1. Unlike `torch.mean`, it writes no full tensor backwards."""
    return x.sum(dims, keepdim=True) * (1 / count(x, dims))


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
        stayed = 1 - torch.sign((moved - y).detach().abs_())  # exact: outside the clamp, `moved` is y
        return gradients[0] * stayed, None


class Quotient(torch.autograd.Function):
    """a / b, with the derivatives 1/b and -(a/b)/b, which reuse the quotient of the forward pass."""

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
    """The mean of (x - centre)² over some axes, where the centre is 0 or the mean; its gradient is 2 (x - centre) / n.

    That the mean depends on x contributes nothing, because the deviations sum to 0.
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


def mean_square(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean of x² over `dims`, which stay as axes of extent 1."""
    if is_observed():
        return mean(x * x, dims)
    result: Tensor = MeanSquare.apply(x, dims, False)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def variance(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The biased variance over `dims`, which stay as axes of extent 1, in two passes: never E[x²] - E[x]²."""
    if is_observed():
        deviation = x - mean(x, dims)
        return mean(deviation * deviation, dims)
    result: Tensor = MeanSquare.apply(x, dims, True)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result
