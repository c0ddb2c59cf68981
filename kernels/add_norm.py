"""A layer's value for a sum, x + residual, by row kernels that read both and write the sum on the way.

As for other layers there is a function of autograd for plain calls, and operators for calls that PyTorch traces
(`torch_function.py`, `torch_operator.py`). The gradient of the sum, which a network uses again further on, is added
within the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evonas.kernels.compiled_layer import KernelChoice, Settings
from evonas.kernels.layer_cache import adding_layer, graph_of
from evonas.kernels.second_derivative import derivative_of_backward
from evonas.kernels.torch_function import is_plain
from evonas.kernels.torch_operator import compute_dtype, like_input

_SETTINGS = 4
"""The number of arguments that are settings: backend, graph, groups and eps."""


@torch.library.custom_op("evonas::add_norm", mutates_args=())
def _add_norm(
    x: Tensor, residual: Tensor, parameters: Sequence[Tensor], backend: str, graph: str, groups: int, eps: float
) -> tuple[Tensor, Tensor]:
    """The layer's value for r = x + residual, and r.

    Args:
        x, residual: (b, c, h, w) with channels last in memory.
        parameters: weight, bias, and the trained leaves of the graph in the order of their table; (c,) each.
        backend: `triton` or `cpp`.
        graph: the JSON of the layer before its affine.
        groups, eps: as in `evonas.NormAct`; `groups` divides c.
    """
    layer = adding_layer(backend, graph)
    vectors = dict(zip(layer.parameters, parameters, strict=True))
    return layer.forward_of_sum(x, residual, vectors, Settings(groups, eps, 0.0))


@_add_norm.register_fake
def _(x: Tensor, residual: Tensor, *_: Any) -> Any:
    dtype = torch.promote_types(x.dtype, residual.dtype)
    return torch.empty_like(x, dtype=dtype), torch.empty_like(x, dtype=dtype)


@torch.library.custom_op("evonas::add_norm_backward", mutates_args=())
def _add_norm_backward(
    dy: Tensor,
    dr: Tensor | None,
    r: Tensor,
    parameters: Sequence[Tensor],
    backend: str,
    graph: str,
    groups: int,
    eps: float,
) -> list[Tensor]:
    """The gradient of x, which is the residual's too, and those of the parameters in `compute_dtype`."""
    layer = adding_layer(backend, graph)
    vectors = dict(zip(layer.parameters, parameters, strict=True))
    dr = None if dr is None else like_input(dr, r)
    found = layer.backward_of_sum(like_input(dy, r), dr, r, vectors, Settings(groups, eps, 0.0))
    return [found["x"], *(found[name].clone() for name in layer.parameters)]


@_add_norm_backward.register_fake
def _(dy: Tensor, dr: Any, r: Tensor, parameters: Sequence[Tensor], backend: str, *_: Any) -> Any:
    dtype = compute_dtype(backend, r)
    return [torch.empty_like(r), *(r.new_empty(r.shape[1], dtype=dtype) for _ in parameters)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, residual, parameters, *ctx.settings = inputs
    ctx.dtypes = x.dtype, residual.dtype
    ctx.save_for_backward(output[1], *parameters)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, dy: Tensor | None, dr: Tensor | None) -> tuple[Any, ...]:
    r, *parameters = ctx.saved_tensors
    d, found = _gradients(dy, dr, r, parameters, ctx.settings)
    return (*_of_inputs(d, ctx.dtypes), found, *(None,) * _SETTINGS)


def _gradients(
    dy: Tensor | None, dr: Tensor | None, r: Tensor, parameters: Sequence[Tensor], settings: Sequence[Any]
) -> tuple[Tensor | None, list[Tensor | None]]:
    """The gradients of the sum and of the parameters, by the operator, which has a derivative."""
    if dy is None:
        return dr, [None] * len(parameters)
    d, *found = torch.ops.evonas.add_norm_backward(dy, dr, r, list(parameters), *settings)
    return d, [g.to(p.dtype) for p, g in zip(parameters, found, strict=True)]


def _of_inputs(d: Tensor | None, dtypes: tuple[torch.dtype, torch.dtype]) -> tuple[Tensor | None, Tensor | None]:
    """The gradient of a sum as those of both terms, each in the type of its term."""
    return (None, None) if d is None else (d.to(dtypes[0]), d.to(dtypes[1]))


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    dy, dr, r, parameters, *ctx.settings = inputs
    ctx.has_dr = dr is not None
    ctx.save_for_backward(dy, r, *parameters)


def _second(ctx: Any, towards: list[Tensor]) -> tuple[Any, ...]:
    dy, r, *parameters = ctx.saved_tensors
    _, graph, groups, eps = ctx.settings
    found = derivative_of_backward(towards, dy, r, parameters, None, graph_of(graph), True, groups, eps)
    to_dy, to_r, *to_parameters = found
    return (to_dy, towards[0] if ctx.has_dr else None, to_r, to_parameters, *(None,) * _SETTINGS)


_add_norm.register_autograd(_backward, setup_context=_setup)
_add_norm_backward.register_autograd(_second, setup_context=_setup_backward)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, choice: KernelChoice, *parameters: Tensor
    ) -> tuple[Tensor, Tensor]:
        layer = adding_layer(choice.backend, choice.graph)
        vectors = dict(zip(layer.parameters, parameters, strict=True))
        y, r = layer.forward_of_sum(x, residual, vectors, choice.settings)
        ctx.choice, ctx.dtypes = choice, (x.dtype, residual.dtype)
        ctx.save_for_backward(r, *parameters)
        ctx.set_materialize_grads(False)
        return y, r

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dr: Tensor | None) -> tuple[Any, ...]:
        r, *parameters = ctx.saved_tensors
        choice: KernelChoice = ctx.choice
        if dy is None or torch.is_grad_enabled():  # with gradients enabled, for a second derivative
            settings = (choice.backend, choice.graph, choice.settings.groups, choice.settings.eps)
            d, found = _gradients(dy, dr, r, parameters, settings)
        else:
            layer = adding_layer(choice.backend, choice.graph)
            vectors = dict(zip(layer.parameters, parameters, strict=True))
            dr = None if dr is None else like_input(dr, r)
            gradients = layer.backward_of_sum(like_input(dy, r), dr, r, vectors, choice.settings)
            d = gradients["x"]
            found = [gradients[name].to(p.dtype) for name, p in zip(layer.parameters, parameters, strict=True)]
        return (*_of_inputs(d, ctx.dtypes), None, *found)


def add_norm(
    x: Tensor, residual: Tensor, parameters: tuple[Tensor, ...], choice: KernelChoice
) -> tuple[Tensor, Tensor]:
    """The layer's value for r = x + residual, and r.

    Args:
        x, residual: (b, c, h, w) with channels last in memory, as `AddingLayer.forward_of_sum` takes them.
        parameters: weight, bias, and the trained leaves of the graph in the order of their table; (c,) each.
        choice: the kernels to run, and the layer's settings.
    """
    if is_plain(x) and is_plain(residual):
        return _Function.apply(x, residual, choice, *parameters)  # type: ignore[no-any-return, no-untyped-call]
    settings = (choice.backend, choice.graph, choice.settings.groups, choice.settings.eps)
    y, r = _add_norm(x, residual, list(parameters), *settings)
    return y, r
