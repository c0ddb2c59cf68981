"""A layer's kernels in a plain call.

On small tensors, what PyTorch does around an operator costs more than the kernels. So a call that nothing traces goes
straight from an autograd function to the launches, and running values are updated where they lie. Everything else
goes by the operators of `torch_operator.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from evonas.kernels import torch_operator
from evonas.kernels.compiled_layer import PARAMETERS, How, compiled_layer
from evonas.kernels.torch_operator import dense, given, kept_in
from evonas.layers.reference import memory_format


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        v0: Tensor | None,
        v1: Tensor | None,
        running: tuple[Tensor, ...],
        how: How,
    ) -> Tensor:
        x = dense(x)
        y, stats = _forward(x, weight, bias, v0, v1, running, how)
        ctx.save_for_backward(x, stats, weight, bias, v0, v1, *(() if how.training else running))
        ctx.how = how
        ctx.set_materialize_grads(False)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return (None,) * 7
        x, stats, weight, bias, v0, v1, *running = ctx.saved_tensors
        how: How = ctx.how
        parameters = (weight, bias, v0, v1)
        if torch.is_grad_enabled():  # the operator says that there is no second derivative, should one be asked for
            stacked = _stacked(running, kept_in(how.backend, x))
            arguments = (dy, x, stats, *parameters, stacked, *how[:3], *how.settings)
            dx, *found = torch.ops.evonas.norm_act_backward(*arguments)
        else:
            layer = compiled_layer(how.backend, how.graph, how.training)
            vectors = given(*parameters)
            if running:  # in training the batch's own are in `stats`
                vectors.update(zip(layer.running, running, strict=True))
            if dy.dtype != x.dtype or dy.stride() != x.stride():
                dy = dy.to(x.dtype).contiguous(memory_format=memory_format(x))
            gradients = layer.backward(dy, x, stats, vectors, how.settings)
            dx, found = gradients["x"], [gradients.get(name) for name in PARAMETERS]
        return (dx, *map(_of_type, parameters, found), None, None)


def _forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    v0: Tensor | None,
    v1: Tensor | None,
    running: tuple[Tensor, ...],
    how: How,
) -> tuple[Tensor, Tensor]:
    layer = compiled_layer(how.backend, how.graph, how.training)
    vectors = given(weight, bias, v0, v1)
    vectors.update(zip(layer.running, running, strict=True))
    found = layer.forward(x, vectors, how.settings)
    if running and how.training:  # a kernel wrote to them, which autograd does not see
        torch.autograd.graph.increment_version(running)
    return found


def norm_act(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    v0: Tensor | None,
    v1: Tensor | None,
    running: tuple[Tensor, ...],
    how: How,
) -> Tensor:
    """The layer's value; in training `running` is updated.

    Args:
        x: (b, c, h, w), of a type that the backend takes.
        weight, bias, v0, v1: (c,); v0 and v1 where the graph uses them.
        running: the running value of each statistic over the batch, (c,), in the order of the graph's nodes.
        how: the kernels, and the layer's settings; `groups` divides c.
    """
    if _is_plain(x):
        found = compiled_layer(how.backend, how.graph, how.training).call(
            dense(x), (weight, bias, v0, v1), running, how.settings
        )
        if found is not None:
            return found
        if not torch.is_grad_enabled():
            return _forward(dense(x), weight, bias, v0, v1, running, how)[0]
        y: Tensor = _Function.apply(x, weight, bias, v0, v1, running, how)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return y
    stacked = _stacked(running, kept_in(how.backend, x))
    y, _, updated = torch_operator.norm_act(x, weight, bias, v0, v1, stacked, *how[:3], *how.settings)
    if how.training:
        with torch.no_grad():
            for buffer, values in zip(running, updated, strict=False):
                buffer.copy_(values)
    return y


def _of_type(parameter: Tensor | None, gradient: Tensor | None) -> Tensor | None:
    if parameter is None or gradient is None:
        return None
    return gradient if gradient.dtype == parameter.dtype else gradient.to(parameter.dtype)


def _stacked(running: Any, dtype: torch.dtype) -> Tensor | None:
    return torch.stack([values.to(dtype) for values in running]) if running else None


def _is_plain(x: Tensor) -> bool:
    """Whether nothing traces or counts what is computed."""
    return (
        not torch.compiler.is_compiling()
        and type(x) in (Tensor, torch.nn.Parameter)
        and torch._C._len_torch_dispatch_stack() == 0
    )
