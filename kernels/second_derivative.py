"""The derivative of a layer's backward pass, which kernels do not compute: it is taken from the reference.

So a gradient penalty, or a product with a Hessian, works whatever computes the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evonas.language.graph import Graph
from evonas.language.primitive_table import Moment
from evonas.layers.reference import evaluate
from evonas.layers.running_values import running_names

Optional = Tensor | None


def derivative_of_backward(
    towards: Sequence[Optional],
    dy: Tensor,
    x: Tensor,
    parameters: Sequence[Optional],
    running: Optional,
    graph: Graph,
    training: bool,
    groups: int,
    eps: float,
) -> list[Optional]:
    """The gradients of dy, x and the parameters, given those of what a backward pass returns.

    Args:
        towards: the gradients of the gradients of x and of each parameter; None where nothing depends on one.
        dy: the gradient of the layer's value, (b, c, h, w).
        x: the input, (b, c, h, w).
        parameters: weight, bias, and the trained leaves of the graph in the order of their table; (c,) each.
        running: the running values, (number of statistics over the batch, c), read in evaluation; or None.
        graph, training, groups, eps: as in `evonas.kernels.torch_operator.norm_act`.

    Returns:
        One for each of dy, x and the parameters; None where it is zero.
    """
    create = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [None if tensor is None else _own(tensor) for tensor in (x, *parameters)]
        dy = _own(dy)
        y = _value(inputs, running, graph, training, groups, eps)
        present = [place for place, tensor in enumerate(inputs) if tensor is not None]
        of = [tensor for tensor in inputs if tensor is not None]
        first = torch.autograd.grad(y, of, dy, create_graph=True, allow_unused=True)
        terms = [
            (gradient, given)
            for place, gradient in zip(present, first, strict=True)
            if gradient is not None and gradient.requires_grad and (given := towards[place]) is not None
        ]
        if not terms:
            return [None] * (1 + len(inputs))
        found = torch.autograd.grad(
            [gradient for gradient, _ in terms],
            [dy, *of],
            [given.to(gradient.dtype) for gradient, given in terms],
            create_graph=create,
            allow_unused=True,
        )
    result: list[Optional] = [found[0], *(None for _ in inputs)]
    for place, gradient in zip(present, found[1:], strict=True):
        result[1 + place] = gradient
    return result


def _own(tensor: Tensor) -> Tensor:
    """The tensor as one of its own: dy may depend on x, and a derivative in x must not follow it there."""
    return tensor.view_as(tensor) if tensor.requires_grad else tensor.detach().requires_grad_()


def _value(
    inputs: Sequence[Optional], running: Optional, graph: Graph, training: bool, groups: int, eps: float
) -> Tensor:
    x, weight, bias, *own = inputs
    assert x is not None and weight is not None and bias is not None
    rows = {node: row for row, node in enumerate(running_names(graph))}

    def kept(node: int, moment: Moment, value: Tensor) -> Tensor:
        assert running is not None
        return running[rows[node]].to(value.dtype).view(1, -1, 1, 1)

    y = evaluate(
        graph,
        x,
        {leaf.name: vector for leaf, vector in zip(graph.parameters, own, strict=True) if vector is not None},
        groups=groups,
        eps=eps,
        batch_statistic=None if training else kept,
    )
    weight, bias = (p.to(y.dtype).view(1, -1, 1, 1) for p in (weight, bias))
    return torch.addcmul(bias, y, weight).to(x.dtype)
