"""The meaning of a layer: evaluation of a graph in PyTorch, to which tests hold every other backend.

Values keep the narrowest shape that broadcasts to (b, c, h, w): a statistic of a group is (b, c, 1, 1), one over the
channels (b, 1, h, w), a parameter (1, c, 1, 1), and the broadcast is never materialised. Element-wise values and
statistics are computed in float32, or in float64 for float64 input, whatever the input's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from evonas.language.autograd_functions import mean, mean_square, variance
from evonas.language.axes import Extent
from evonas.language.graph import Graph, X
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment, Primitive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from evonas.language.leaf import Leaf

    BatchStatistic = Callable[[int, Moment, Tensor], Tensor]

_DIMS = {
    IndexSet.BWH: (0, 2, 3),
    IndexSet.WHC: (1, 2, 3),
    IndexSet.WH: (2, 3),
    IndexSet.C: (1,),
}
_WITHIN_GROUPS = {IndexSet.WHCG: (2, 3, 4), IndexSet.CG: (2,)}
"""The axes of (b, group, channel of the group, h, w) that statistics of groups reduce."""


def evaluate(
    graph: Graph,
    x: Tensor,
    parameters: Mapping[str, Tensor] | None = None,
    *,
    groups: int = 32,
    eps: float = 1e-5,
    batch_statistic: BatchStatistic | None = None,
) -> Tensor:
    """The value of `graph`, before the affine, broadcast to the shape of `x`.

    Args:
        x: the input, (b, c, h, w), of any floating type.
        parameters: the trained leaves by name, (c,) or scalar as `evonas.language.leaf` says; those that are not given
            are what their training starts at.
        groups: number of groups for statistics over `whcg` and `cg`; lowered until it divides c.
        eps: the layer's epsilon.
        batch_statistic: called as `batch_statistic(node, moment, argument)` for the raw moment (mean, mean
            of squares or biased variance) of each node over `bwh`, so that a layer can keep running values.
            By default it is the moment of the batch.

    Returns:
        (b, c, h, w), in the accumulation type: float64 for float64 input, else float32.
    """
    dtype = accumulation_dtype(x.dtype)
    values: dict[int, Tensor] = {X: x.to(dtype)}
    whole_groups = groups_dividing(x.shape[1], groups)
    for number in graph.live:
        leaf = graph.leaf(number)
        if leaf is not None:
            if number != X:
                values[number] = _leaf_value(leaf, parameters or {}, values[X])
            continue
        name, args = graph.node(number)
        op, arguments = PRIMITIVES[name], [values[a] for a in args]
        if op.index_set is IndexSet.BWH and op.moment is not None and batch_statistic is not None:
            values[number] = rooted(op.moment, batch_statistic(number, op.moment, arguments[0]), eps)
        else:
            values[number] = apply(op, arguments, whole_groups, eps)
    return values[graph.output].expand(x.shape)


def _leaf_value(leaf: Leaf, parameters: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """A constant as (1, 1, 1, 1), and a parameter as that or as (1, c, 1, 1), in the type of x."""
    given = parameters.get(leaf.name) if leaf.is_parameter else None
    if given is not None:
        return given.to(x.dtype).view(1, -1, 1, 1)
    value = leaf.value if leaf.start is None else leaf.start
    assert value is not None  # x is the only leaf without one
    if value > torch.finfo(x.dtype).max:  # which PyTorch refuses to convert
        value = math.inf
    return x.new_full((1, x.shape[1] if leaf.extent is Extent.CHANNEL else 1, 1, 1), value)


def apply(op: Primitive, arguments: Sequence[Tensor], groups: int, eps: float) -> Tensor:
    """The value of one operation; `groups` divides the channels."""
    if op.evaluate is not None:
        return op.evaluate(*arguments, eps=eps)
    assert op.moment is not None
    assert op.index_set is not None  # a row has either an evaluation or a moment and its index set
    return rooted(op.moment, raw_moment(op.moment, op.index_set, arguments[0], groups), eps)


def rooted(moment: Moment, raw: Tensor, eps: float) -> Tensor:
    """An aggregation's value, given its raw moment."""
    return raw if moment is Moment.MEAN else torch.sqrt(raw + eps)


def raw_moment(moment: Moment, index_set: IndexSet, value: Tensor, groups: int) -> Tensor:
    """Mean, mean of squares or biased variance over an index set.

    Axes along which `value` has extent 1 are broadcast axes, over which it is constant, so reducing
    the axes of `value` gives the statistic of the broadcast.

    Args:
        moment: which of the three.
        index_set: the axes to reduce.
        value: four-dimensional, and broadcast to (b, c, h, w).
        groups: number of groups for `WHCG` and `CG`; it divides the channels.

    Returns:
        A tensor of four dimensions, with extent 1 along the reduced axes; a group's value is repeated for its channels.
    """
    if index_set in _WITHIN_GROUPS:
        return _group_moment(moment, index_set, value, groups)
    return _moment(moment, value, _DIMS[index_set])


def _moment(moment: Moment, value: Tensor, dims: tuple[int, ...]) -> Tensor:
    if moment is Moment.MEAN:
        return mean(value, dims)
    return mean_square(value, dims) if moment is Moment.RMS else variance(value, dims)


def _group_moment(moment: Moment, index_set: IndexSet, value: Tensor, groups: int) -> Tensor:
    b, c, h, w = value.shape
    if c == 1:
        # It is the same in every channel of a group, so only the plane is left to reduce, if that is reduced.
        return _moment(moment, value, _DIMS[IndexSet.WH if index_set is IndexSet.WHCG else IndexSet.C])
    grouped = value.reshape(b, groups, c // groups, h, w)
    reduced = _moment(moment, grouped, _WITHIN_GROUPS[index_set])
    _, _, _, h, w = reduced.shape
    return reduced.expand(b, groups, c // groups, h, w).reshape(b, c, h, w)


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which values are computed for an input of type `dtype`: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def groups_dividing(channels: int, groups: int) -> int:
    """The largest number that divides `channels` and is at most `groups`."""
    groups = min(groups, channels)
    while channels % groups:
        groups -= 1
    return groups


def memory_format(x: Tensor) -> torch.memory_format:
    """`torch.channels_last` where x has that layout and is not contiguous too, else `torch.contiguous_format`."""
    try:
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    except RuntimeError:  # torch.func.vmap does not tell
        last = False
    return torch.channels_last if last else torch.contiguous_format
