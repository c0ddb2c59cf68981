"""The choice of the backend that computes a layer for an input."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from evonas.errors import shorten
from evonas.language.autograd_functions import is_observed
from evonas.layers.backend import has_cpp, has_triton, kernel_provider

if TYPE_CHECKING:
    from torch import Tensor

TRITON_TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Types of input that Triton kernels accept; they compute in float32, which is too coarse for float64 input."""
CPP_TYPES = (torch.float32, torch.float64)
"""Types of input that C++ kernels accept."""

BREAK_EVEN = 2**24
"""Number of values after which a layer on a CPU switches from the reference to C++ kernels, which have to be built.

It is the time of a build divided by the time that kernels save on each value, as `python -m benchmarks.layers_cpu`
measures and prints it. Building once the time lost equals the time of a build is never more than twice as slow as the
better choice.
"""

LONGEST_ROW = 2**14
"""The most channels with which Triton's kernels hold the row of a position in registers."""

_PLANES, _SAMPLE = 2**25, 2**31
"""Triton kernels use 32-bit indices within a sample, and within their buffers of a few numbers for each plane."""
_ROWS = 2**30
"""And for the number of a row."""
_SMALL_PLANES = 16
"""Up to so many positions, kernels that go over planes have hardly anything to go over."""


def goes_by_rows(x: Tensor) -> bool:
    """Whether Triton's kernels of a layer that has those of planes and of rows go over the rows of an input.

    Args:
        x: (b, c, h, w).
    """
    b, c, h, w = x.shape
    fits = c <= LONGEST_ROW and (h * w <= _SMALL_PLANES or b * c >= _PLANES)
    return fits and x.is_contiguous(memory_format=torch.channels_last)


def choose_backend(
    backend: str, x: Tensor, computed: int = 0, *, has_rows: bool = False, only_rows: bool = False
) -> str:
    """The backend for an input: `reference`, `triton` or `cpp`.

    The reference takes every case that kernels do not support: an empty batch, the transforms of torch.func, tangents
    of forward-mode differentiation, tracers, which would record where kernels wrote, other types of numbers, and for
    Triton sizes beyond 32 bits.

    Args:
        backend: the backend that was asked for, one of `BACKENDS`.
        x: the input, (b, c, h, w).
        computed: the number of values that the layer has computed by the reference so far.
        has_rows: whether the layer has kernels of rows, in which numbers of planes do not matter.
        only_rows: whether it has no others.
    """
    if backend == "reference" or is_observed() or not x.numel():
        return "reference"
    if backend == "cpp" or (backend == "auto" and x.device.type == "cpu"):
        able = x.device.type == "cpu" and x.dtype in CPP_TYPES
        return "cpp" if able and (backend == "cpp" or _pays(computed)) else "reference"
    b, c, h, w = x.shape
    by_rows = only_rows or (has_rows and goes_by_rows(x))
    most = b * h * w >= _ROWS if by_rows else b * c >= _PLANES
    if most or c * h * w >= _SAMPLE:
        return "reference"
    return "triton" if backend == "triton" or (x.is_cuda and x.dtype in TRITON_TYPES and has_triton()) else "reference"


def for_training(backend: str, device: str) -> str:
    """The backend for the layers of a network that is about to be trained.

    A training computes so many values that building kernels pays from the start, and its results must not depend on
    the step at which `auto` would have switched to them. It also calls layers so often that the operator which calls
    C++ kernels is built, unless it is there already.

    Args:
        backend: the backend that was asked for, one of `BACKENDS`.
        device: the device to train on, such as "cpu" or "cuda".
    """
    backend = "cpp" if backend == "auto" and device == "cpu" and has_cpp() else backend
    if backend == "cpp":
        kernel_provider().build_calls()
    return backend


def _pays(computed: int) -> bool:
    """Whether C++ kernels are worth building; torch.compile fuses the reference itself."""
    return computed >= BREAK_EVEN and not torch.compiler.is_compiling() and not _given_up and has_cpp()


_given_up: list[str] = []
"""Why `auto` no longer uses C++ kernels in this process; empty where it does."""


def give_up_kernels(reason: Exception) -> None:
    """Has `auto` use the reference on the CPU from now on, and warns once, because a build has failed."""
    if not _given_up:
        _given_up.append(str(reason))
        warnings.warn(
            f"C++ kernels cannot be built any more, so layers are computed by PyTorch: {shorten(str(reason), 300)}",
            stacklevel=2,
        )
