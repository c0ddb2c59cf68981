"""Which code computes a layer: the reference in PyTorch, or kernels made for it."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from evonas.errors import UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

BACKENDS = ("auto", "reference", "triton")
"""What `evonas.NormAct` takes: the best for the input, the reference, or Triton kernels."""

TRITON_TYPES = (torch.float32, torch.float16, torch.bfloat16)
"""Types of input that Triton kernels take; they compute in float32, which is less than float64 input asks for."""

_PLANES, _SAMPLE = 2**25, 2**31
"""Kernels count within a sample, and in their buffers of a few numbers a plane, in 32 bits: inputs reach neither."""


def check_backend(name: str) -> None:
    """Raises UsageError for a name that is no backend, or one that is not installed."""
    if name not in BACKENDS:
        raise unknown("backend", name, BACKENDS)
    if name == "triton" and not has_triton():
        raise UsageError("backend 'triton' needs the package triton: install it, or use backend 'auto'")


def uses_triton(backend: str, x: Tensor) -> bool:
    """Whether Triton kernels compute a layer for an input; the transforms of torch.func are left to the reference."""
    b, c, h, w = x.shape
    if torch._C._are_functorch_transforms_active():
        return False
    if backend == "reference" or not x.numel() or b * c >= _PLANES or c * h * w >= _SAMPLE:
        return False
    return backend == "triton" or (x.is_cuda and x.dtype in TRITON_TYPES and has_triton())


@cache
def has_triton() -> bool:
    """Whether the package triton is installed."""
    return find_spec("triton") is not None
