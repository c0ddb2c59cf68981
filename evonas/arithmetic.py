"""Differentiable building blocks of the primitives whose obvious spelling in PyTorch is slow.

The values and gradients are those of the obvious spelling, and so are second derivatives; what differs is
the number of passes over a tensor, and on a CPU `torch.where`, `torch.var` and the backward of
`torch.maximum` run code that is not vectorised, ten times slower than arithmetic. Candidates are trained
with these, so a search spends most of its time here.

The table of primitives names these functions; PyTorch is imported when the first of them is called.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b), broadcast; half the gradient to each side at a tie. NaN propagates."""
    from evonas import gradients

    result: Tensor = gradients.Maximum.apply(a, b)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def away_from_zero(y: Tensor, eps: float) -> Tensor:
    """`y` where abs(y) >= eps, else eps with the sign of `y` (+ for 0), there with gradient 0. NaN propagates."""
    from evonas import gradients

    result: Tensor = gradients.AwayFromZero.apply(y, eps)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b, broadcast."""
    from evonas import gradients

    result: Tensor = gradients.Quotient.apply(a, b)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def mean(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean over `dims`, kept as axes of extent 1. Unlike `torch.mean`'s, its backward writes no full tensor."""
    return x.sum(dims, keepdim=True) * (1 / count(x, dims))


def mean_square(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The mean of x² over `dims`, kept as axes of extent 1."""
    from evonas import gradients

    result: Tensor = gradients.MeanSquare.apply(x, dims, False)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def variance(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The biased variance over `dims`, kept as axes of extent 1, in two passes: never E[x²] - E[x]²."""
    from evonas import gradients

    result: Tensor = gradients.MeanSquare.apply(x, dims, True)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def count(x: Tensor, dims: tuple[int, ...]) -> int:
    """How many values a mean over `dims` is taken of."""
    return max(1, prod([x.shape[d] for d in dims]))  # of an empty batch every mean is 0
