"""Functions that rows of the table of primitives call where PyTorch's own spelling is slow, or NumPy has none.

Those of PyTorch are in `autograd_functions.py`, which imports PyTorch and is therefore imported at the first call:
commands that need no tensors read the table too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_error_function = np.frompyfunc(math.erf, 1, 1)


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """max(a, b), broadcast; half the gradient to each side at a tie. NaN propagates."""
    import torch

    from evonas.language import autograd_functions

    if autograd_functions.is_observed():
        return torch.maximum(a, b)
    result: Tensor = autograd_functions.Maximum.apply(a, b)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def away_from_zero(y: Tensor, eps: float) -> Tensor:
    """`y` where abs(y) >= eps, else eps with the sign of `y` (+ for 0) and gradient 0. NaN propagates."""
    import torch

    from evonas.language import autograd_functions

    if autograd_functions.is_observed():
        edge = torch.full_like(y, eps)
        return torch.where(y.abs() < eps, torch.where(y < 0, -edge, edge), y)
    result: Tensor = autograd_functions.AwayFromZero.apply(y, eps)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def quotient(a: Tensor, b: Tensor) -> Tensor:
    """The quotient a / b, broadcast."""
    from evonas.language import autograd_functions

    if autograd_functions.is_observed():
        return a / b
    result: Tensor = autograd_functions.Quotient.apply(a, b)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return result


def error_function(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """The error function of an array, which NumPy lacks."""
    return np.asarray(_error_function(a), dtype=np.float64)
