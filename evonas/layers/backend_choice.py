"""Which backend computes a layer for an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from evonas.layers.backend import has_cpp, has_triton, kernels

if TYPE_CHECKING:
    from torch import Tensor

TRITON_TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Types of input that Triton kernels take; they compute in float32, which is less than float64 input asks for."""
CPP_TYPES = (torch.float32, torch.float64)
"""Types of input that C++ kernels take."""

BREAK_EVEN = 2**24
"""Values that the reference computes before building C++ kernels has cost less than going on without them.

Measured by `python -m benchmarks.layers_cpu`, which prints it: the time of a build over what kernels save on a value.
To go on until as much is lost as a build costs, and build then, is never more than twice as slow as knowing beforehand.
"""

_PLANES, _SAMPLE = 2**25, 2**31
"""Triton kernels count in 32 bits within a sample, and in their buffers of a few numbers a plane."""


def chosen(backend: str, x: Tensor, computed: int = 0) -> str:
    """What computes a layer for an input: `reference`, `triton` or `cpp`.

    Kernels leave to the reference what they cannot do: an empty batch, the transforms of torch.func, other types of
    numbers, and for Triton sizes beyond 32 bits.

    Args:
        backend: what was asked for, one of `BACKENDS`.
        x: the input, (b, c, h, w).
        computed: values that the layer has computed by the reference.
    """
    if backend == "reference" or not x.numel() or torch._C._are_functorch_transforms_active():
        return "reference"
    if backend == "cpp" or (backend == "auto" and x.device.type == "cpu"):
        able = x.device.type == "cpu" and x.dtype in CPP_TYPES
        return "cpp" if able and (backend == "cpp" or _pays(computed)) else "reference"
    b, c, h, w = x.shape
    if b * c >= _PLANES or c * h * w >= _SAMPLE:
        return "reference"
    return "triton" if backend == "triton" or (x.is_cuda and x.dtype in TRITON_TYPES and has_triton()) else "reference"


def for_training(backend: str, device: str) -> str:
    """What computes the layers of a network that is about to be trained, where `backend` is what was asked for.

    A training goes over so many values that a build pays, and its bits should not depend on when that became known.
    It also calls so many layers that the operator which calls C++ kernels is built, where it was not before.
    """
    taken = "cpp" if backend == "auto" and device == "cpu" and has_cpp() else backend
    if taken == "cpp":
        kernels().build_calls()
    return taken


def _pays(computed: int) -> bool:
    """Whether C++ kernels are worth building; what torch.compile traces it fuses itself."""
    return computed >= BREAK_EVEN and not torch.compiler.is_compiling() and has_cpp()
