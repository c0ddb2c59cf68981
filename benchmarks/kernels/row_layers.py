"""Layers for tokens, which are computed row by row, beside PyTorch's own norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.kernels.contenders import NATIVE_NORM, TYPES
from benchmarks.kernels.timing import copy_bandwidth, timed
from evonas.layers.add_norm import AddNorm
from evonas.layers.norm_act import NormAct

LAYERS = ("layernorm", "rmsnorm-c", "derf", "x * sigmoid(x) / rms_c(x)")
"""Those for which PyTorch has a norm of its own, one without statistics, and one that is none of these."""
WIDTHS = (1024, 2048, 4096, 8192)
VALUES = 2**25
"""The values of x: 64 MB in bfloat16."""
FLOOR = {False: (2, 3), True: (4, 4)}
"""How often a tensor of x's size has to be read or written, forward and backward. With a residual, r is written as
well, and its gradient is read."""
Given = Mapping[str, Any]
Forward = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


def ways(given: Given) -> tuple[str, ...]:
    """The contenders of an item."""
    if "mode" in given:
        return "ours", given["mode"]
    own = (NATIVE_NORM,) if given["layer"] in LAYERS[:2] else ()
    return "ours", "eager", *own


def contender(way: str, given: Given, device: str = "cuda") -> tuple[Forward, list[nn.Parameter]]:
    """One of `ways`, and its parameters.

    Args:
        way: the contender.
        given: `layer`, `width`, and `sum`: whether the layer is one of x + residual, which is returned as well.
        device: where its parameters are.
    """
    width, layer = given["width"], given["layer"]
    if way == "ours" and given["sum"]:
        adding = AddNorm(layer, width, backend="triton", device=device)
        return adding, list(adding.parameters())
    module: Any
    if way == NATIVE_NORM:
        module = nn.LayerNorm(width) if layer == "layernorm" else nn.RMSNorm(width, eps=1e-5)
        module = module.to(
            device, TYPES[given["dtype"]]
        )  # it has no fast kernels for parameters of another type than x
    else:
        module = NormAct(layer, width, dim=-1, backend="triton" if way == "ours" else "reference", device=device)

    def of_sum(x: Tensor, residual: Tensor) -> tuple[Tensor, ...]:
        r = x + residual
        return module(r), r

    def alone(x: Tensor, residual: Tensor) -> tuple[Tensor, ...]:
        return (module(x),)

    forward = of_sum if given["sum"] else alone
    if way == "compiled":
        torch._dynamo.reset()
        forward = torch.compile(forward, dynamic=False)
    return forward, list(module.parameters())


def inputs(given: Given, device: str = "cuda") -> list[Tensor]:
    """Random x, residual, and gradients of the value and of the sum: (rows, width)."""
    shape, dtype = (VALUES // given["width"], given["width"]), TYPES[given["dtype"]]
    tensors = [torch.randn(shape, device=device).to(dtype) for _ in range(4)]
    return [tensor.requires_grad_() if place < 2 else tensor for place, tensor in enumerate(tensors)]


def prepare(given: Given) -> None:
    """Compiles what an item will run."""
    x, residual, *gradients = inputs(given)
    for way in ways(given):
        forward, _ = contender(way, given)
        found = forward(x, residual)
        torch.autograd.backward(found, tuple(gradients[: len(found)]))
        with torch.no_grad():
            forward(x, residual)


def measured(given: Given, repeats: int) -> dict[str, Any]:
    """A layer on rows of one width, forward and forward with backward, by each contender."""
    x, residual, *gradients = inputs(given)
    size, least = x.numel() * x.element_size(), FLOOR[given["sum"]]
    bandwidth = copy_bandwidth(x.numel(), x.dtype, repeats)
    row: dict[str, Any] = {"bytes_of_x": size, "floor": least, "copy_bandwidth": bandwidth}
    for way in ways(given):
        forward, parameters = contender(way, given)
        leaves = [x, residual, *parameters]
        row[way] = timed(partial(forward, x, residual), leaves, gradients[: 1 + given["sum"]], repeats)
        row[way]["share_forward"] = least[0] * size / row[way]["forward"] / bandwidth
        row[way]["share_both"] = sum(least) * size / row[way]["both"] / bandwidth
    return row
