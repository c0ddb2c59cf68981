"""Calls a layer's kernels from PyTorch.

On small tensors, the work that PyTorch does around an operator takes longer than the kernels. So a plain call, one that
nothing traces, goes straight from an autograd function to the launches, and running values are updated in place. All
other calls use the operators of `torch_operator.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evonas.kernels import torch_operator
from evonas.kernels.compiled_layer import KernelChoice
from evonas.kernels.layer_cache import compiled_layer
from evonas.kernels.torch_operator import compute_dtype, dense, like_input


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        running: tuple[Tensor, ...],
        choice: KernelChoice,
        *parameters: Tensor,
    ) -> Tensor:
        x = dense(x)
        y, stats = _forward(x, parameters, running, choice)
        ctx.save_for_backward(x, stats, *parameters, *(() if choice.training else running))
        ctx.choice = choice
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        choice: KernelChoice = ctx.choice
        layer = compiled_layer(choice.backend, choice.graph, choice.training)
        if dy is None:
            return (None,) * (3 + len(layer.parameters))
        x, stats, *vectors_and_running = ctx.saved_tensors
        parameters, running = _split(vectors_and_running, len(layer.parameters))
        if torch.is_grad_enabled():  # for a second derivative, which the operator has
            stacked = _stacked(running, compute_dtype(choice.backend, x))
            arguments = (dy, x, stats, parameters, stacked, *choice[:3], *choice.settings)
            dx, *found = torch.ops.evonas.norm_act_backward(*arguments)
        else:
            vectors = dict(zip(layer.parameters, parameters, strict=True))
            if running:  # in training the statistics of the batch are in `stats`
                vectors.update(zip(layer.running, running, strict=True))
            if dy.dtype != x.dtype or dy.stride() != x.stride():
                dy = like_input(dy, x)
            gradients = layer.backward(dy, x, stats, vectors, choice.settings)
            dx, found = gradients["x"], [gradients[name] for name in layer.parameters]
        return (dx, None, None, *map(_of_type, parameters, found))


def _split(tensors: list[Tensor], count: int) -> tuple[list[Tensor], list[Tensor]]:
    return tensors[:count], tensors[count:]


def _forward(
    x: Tensor, parameters: tuple[Tensor, ...], running: tuple[Tensor, ...], choice: KernelChoice
) -> tuple[Tensor, Tensor]:
    layer = compiled_layer(choice.backend, choice.graph, choice.training)
    vectors = dict(zip(layer.parameters, parameters, strict=True))
    vectors.update(zip(layer.running, running, strict=True))
    found = layer.forward(x, vectors, choice.settings)
    if running and choice.training:  # a kernel wrote to them, which autograd cannot see
        torch.autograd.graph.increment_version(running)
    return found


def norm_act(x: Tensor, parameters: tuple[Tensor, ...], running: tuple[Tensor, ...], choice: KernelChoice) -> Tensor:
    """The layer's value; in training `running` is updated in place.

    Args:
        x: (b, c, h, w), of a type that the backend supports.
        parameters: weight, bias, and the trained leaves of the graph in the order of their table; (c,) each.
        running: the running value of each statistic over the batch, (c,), in the order of the graph's nodes.
        choice: the kernels to run, and the layer's settings.
    """
    if is_plain(x):
        layer = compiled_layer(choice.backend, choice.graph, choice.training)
        found = layer.call(dense(x), parameters, running, choice.settings)
        if found is not None:
            return found
        if not torch.is_grad_enabled():
            return _forward(dense(x), parameters, running, choice)[0]
        y: Tensor = _Function.apply(x, running, choice, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return y
    stacked = _stacked(running, compute_dtype(choice.backend, x))
    y, _, updated = torch_operator.norm_act(x, list(parameters), stacked, *choice[:3], *choice.settings)
    if choice.training:
        with torch.no_grad():
            for buffer, values in zip(running, updated, strict=False):
                buffer.copy_(values)
    return y


def _of_type(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The gradient in the type of its parameter."""
    return gradient if gradient.dtype == parameter.dtype else gradient.to(parameter.dtype)


def _stacked(running: Any, dtype: torch.dtype) -> Tensor | None:
    return torch.stack([values.to(dtype) for values in running]) if running else None


def is_plain(x: Tensor) -> bool:
    """Whether a call is plain: PyTorch neither compiles it nor observes its operations."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, torch.nn.Parameter)
        and torch._C._len_torch_dispatch_stack() == 0
    )
