"""A layer's kernels as operators of PyTorch, which autograd, torch.compile and torch.export can handle.

They are for tracing; a plain call uses `torch_function.py`, which does the same at a fraction of the cost.

An operator of PyTorch takes tensors, numbers and text only. So the graph is passed as its JSON, and every setting is an
argument of its own. The operator returns new running values and changes nothing in place, because only such operators
can have a derivative. For the backward pass it keeps x and a few numbers for each plane or cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evonas.kernels.compiled_layer import Settings
from evonas.kernels.layer_cache import compiled_layer, graph_of
from evonas.kernels.second_derivative import derivative_of_backward
from evonas.layers.reference import memory_format

_SETTINGS = 6
"""The number of arguments that are settings: backend, graph, training, groups, eps and momentum."""


@torch.library.custom_op("evonas::norm_act", mutates_args=())
def norm_act(
    x: Tensor,
    parameters: Sequence[Tensor],
    running: Tensor | None,
    backend: str,
    graph: str,
    training: bool,
    groups: int,
    eps: float,
    momentum: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """The layer's value, the numbers that its backward pass needs, and the new running values.

    Args:
        x: (b, c, h, w); it is copied unless it is contiguous or channels last.
        parameters: weight, bias, and the trained leaves of the graph in the order of their table; (c,) each.
        running: (number of statistics over the batch, c), in `compute_dtype(backend, x)`; None if there are none.
        backend: `triton` or `cpp`.
        graph: the JSON of the layer before its affine.
        training: whether statistics over the batch are computed from x.
        groups, eps, momentum: as in `evonas.NormAct`; `groups` divides c.
    """
    x = dense(x)
    values = x.new_empty((0, x.shape[1]), dtype=compute_dtype(backend, x)) if running is None else running.clone()
    layer = compiled_layer(backend, graph, training)
    vectors = dict(zip(layer.parameters, parameters, strict=True))
    vectors |= dict(zip(layer.running, values.unbind(), strict=True))
    y, stats = layer.forward(x, vectors, Settings(groups, eps, momentum))
    return y, stats, values


@norm_act.register_fake
def _(
    x: Tensor,
    parameters: Any,
    running: Any,
    backend: str,
    graph: str,
    training: bool,
    groups: int,
    *_: Any,
) -> Any:
    dtype = compute_dtype(backend, x)
    x = dense(x)
    stats = x.new_empty(compiled_layer(backend, graph, training).stats_size(x, groups), dtype=dtype)
    values = x.new_empty((0, x.shape[1]), dtype=dtype) if running is None else torch.empty_like(running)
    return torch.empty_like(x, memory_format=memory_format(x)), stats, values


@torch.library.custom_op("evonas::norm_act_backward", mutates_args=())
def norm_act_backward(
    dy: Tensor,
    x: Tensor,
    stats: Tensor,
    parameters: Sequence[Tensor],
    running: Tensor | None,
    backend: str,
    graph: str,
    training: bool,
    groups: int,
    eps: float,
    momentum: float,
) -> list[Tensor]:
    """The gradients of x and, in `compute_dtype`, of the parameters."""
    x = dense(x)
    dy = like_input(dy, x)
    layer = compiled_layer(backend, graph, training)
    vectors = dict(zip(layer.parameters, parameters, strict=True))
    if running is not None:
        vectors |= dict(zip(layer.running, running.unbind(), strict=True))
    found = layer.backward(dy, x, stats, vectors, Settings(groups, eps, momentum))
    return [found["x"], *(found[name].clone() for name in layer.parameters)]


@norm_act_backward.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    stats: Tensor,
    parameters: Sequence[Tensor],
    running: Any,
    backend: str,
    *_: Any,
) -> Any:
    dtype = compute_dtype(backend, x)
    vectors = [x.new_empty(x.shape[1], dtype=dtype) for _ in parameters]
    return [torch.empty_like(x, memory_format=memory_format(x)), *vectors]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, parameters, running, *ctx.settings = inputs
    ctx.save_for_backward(x, output[1], running, *parameters)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, dy: Tensor | None, *_: Any) -> tuple[Any, ...]:
    x, stats, running, *parameters = ctx.saved_tensors
    if dy is None:
        return (None, [None] * len(parameters), None, *(None,) * _SETTINGS)
    dx, *found = torch.ops.evonas.norm_act_backward(dy, x, stats, parameters, running, *ctx.settings)
    gradients = [g.to(p.dtype) for p, g in zip(parameters, found, strict=True)]
    return (dx, gradients, None, *(None,) * _SETTINGS)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    dy, x, _, parameters, running, *ctx.settings = inputs
    ctx.save_for_backward(dy, x, running, *parameters)


def _second(ctx: Any, towards: list[Tensor]) -> tuple[Any, ...]:
    dy, x, running, *parameters = ctx.saved_tensors
    _, graph, training, groups, eps, _ = ctx.settings
    found = derivative_of_backward(towards, dy, x, parameters, running, graph_of(graph), training, groups, eps)
    to_dy, to_x, *to_parameters = found
    return (to_dy, to_x, None, to_parameters, None, *(None,) * _SETTINGS)


norm_act.register_autograd(_backward, setup_context=_setup)
norm_act_backward.register_autograd(_second, setup_context=_setup_backward)


def compute_dtype(backend: str, x: Tensor) -> torch.dtype:
    """The type in which kernels compute, and in which they store statistics and gradients of parameters."""
    return torch.float32 if backend == "triton" else x.dtype


def dense(x: Tensor) -> Tensor:
    """Returns x if it is contiguous or channels last, and otherwise a contiguous copy of it."""
    return x if x.is_contiguous() else x.contiguous(memory_format=memory_format(x))


def like_input(dy: Tensor, x: Tensor) -> Tensor:
    """Returns dy in the type and memory format of x."""
    return dy.to(x.dtype).contiguous(memory_format=memory_format(x))
