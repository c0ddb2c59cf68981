"""The code with which exported files run their Triton kernels; the printer copies its text from here.

It is real code here so that type checkers see it. It uses torch, Triton if that is installed, and
`evonas.kernels.triton.tiles`, whose text is copied too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evonas.kernels.export.torch_helpers import laid_out_like
from evonas.kernels.triton.tiles import Grid, Shape, merging

try:
    import triton
except ImportError:
    triton = None

Given = dict[str, Any]
"""The arguments of kernels by name: pointers as tensors, and numbers."""


def jit(function: Callable[..., None]) -> Any:
    """The kernel that a function describes; without Triton nothing calls it."""
    return function if triton is None else triton.jit(function)


def runs_kernels(x: Tensor, backend: str) -> bool:
    """Whether Triton kernels compute the layer for `x`.

    They do on a GPU in a plain call. What is traced, transformed, float64, empty, or too large to be counted in 32
    bits is computed by PyTorch.
    """
    if triton is None or backend == "reference" or not (x.is_cuda or backend == "triton"):
        return False
    if x.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        return False
    b, c, h, w = x.shape
    if torch.compiler.is_compiling() or torch._C._get_tracing_state():
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False
    plain = type(x) in (Tensor, torch.nn.Parameter)
    return plain and x.numel() > 0 and b * c < 2**25 and c * h * w < 2**31


def launch(kernel: Any, grid: Grid, given: Given) -> None:
    """Run a kernel on what it takes of `given`, by the names of its arguments."""
    programs, constants = grid
    values = [given[name] for name in kernel.arg_names if name not in constants]
    kernel[programs](*values, **constants)


def launch_shared(
    kernel: Any,
    merge: Any,
    grid: Grid,
    buffer: Tensor,
    slots: int,
    given: Given,
) -> None:
    """Run a kernel that reduces over positions, and where programs share planes what merges them.

    `slots` is how many numbers of each plane `buffer` holds.
    """
    (_, pieces), division = grid
    if pieces == 1:
        launch(kernel, grid, {**given, "found_ptr": buffer})
        return
    parts = buffer.new_empty(pieces * slots * given["planes"])
    launch(kernel, grid, {**given, "found_ptr": parts})
    launch(merge, merging(given["planes"], division["span"]), {**given, "parts_ptr": parts})


class Passes(NamedTuple):
    """What runs the kernels of the layer, in training or in evaluation."""

    forward: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, dict[str, Tensor]]]


class ByKernels(torch.autograd.Function):
    """The layer by its kernels. Kept for the backward pass are x and a few numbers for each plane."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        passes: Passes,
        shape: Shape,
        given: Given,
        names: tuple[str, ...],
        *parameters: Tensor,
    ) -> Tensor:
        """The layer's value; `given` holds numbers and running values, by the names of arguments."""
        ctx.passes, ctx.shape, ctx.given, ctx.names = passes, shape, given, names
        with torch.cuda.device_of(x):
            pointers = {f"{name}_ptr": p for name, p in zip(names, parameters, strict=True)}
            y, stats = passes.forward(x, shape, {**given, **pointers})
        ctx.save_for_backward(x, stats, *parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x and of the parameters."""
        x, stats, *parameters = ctx.saved_tensors
        named = dict(zip(ctx.names, parameters, strict=True))
        dy = laid_out_like(dy.to(x.dtype), x)
        with torch.cuda.device_of(x):
            given = {**ctx.given, **{f"{name}_ptr": p for name, p in named.items()}}
            dx, found = ctx.passes.backward(dy, x, stats, ctx.shape, given)
        gradients = (found[name].to(p.dtype) for name, p in named.items())
        return dx, None, None, None, None, *gradients
