"""Which axes each node of a graph varies over.

An element-wise result varies over every axis that one of its arguments varies over; an aggregation removes the axes of
its index set.
"""

from __future__ import annotations

from collections.abc import Sequence

from evonas.language.axes import REMOVES, Extent, IndexSet
from evonas.language.leaf import LEAVES
from evonas.language.node import FIRST, INPUTS, Node, X, leaf_at
from evonas.language.primitive_table import PRIMITIVES, Primitive

__all__ = [
    "INPUT_EXTENTS",
    "REMOVES",
    "Extent",
    "extents_of",
    "has_pointwise_path",
    "is_constant_over",
    "mixes_positions",
    "result_extent",
]

_ELEMENTWISE = frozenset(op.name for op in PRIMITIVES.values() if not op.is_aggregation)

INPUT_EXTENTS = tuple(leaf.extent for leaf in LEAVES[: len(INPUTS)])
"""Extents of the input nodes x, zero, v0, v1."""


def result_extent(op: Primitive, arguments: Sequence[Extent]) -> Extent:
    """The extent of `op` applied to values of the given extents."""
    extent = Extent.NONE
    for argument in arguments:
        extent |= argument
    return extent if op.index_set is None else extent & ~REMOVES[op.index_set]


def is_constant_over(extent: Extent, index_set: IndexSet) -> bool:
    """Whether a value of this extent is constant within every cell of the index set."""
    return not extent & REMOVES[index_set]


def extents_of(nodes: Sequence[Node], live: Sequence[int]) -> dict[int, Extent]:
    """The extent of each live node, by its number.

    Args:
        nodes: the nodes.
        live: numbers of the nodes that the output depends on, in order.
    """
    extents: dict[int, Extent] = {}
    for number in live:
        leaf = leaf_at(nodes, number)
        if leaf is not None:
            extents[number] = leaf.extent
        else:
            name, args = nodes[number - FIRST]
            extents[number] = result_extent(PRIMITIVES[name], [extents[a] for a in args])
    return extents


def mixes_positions(nodes: Sequence[Node], live: Sequence[int]) -> bool:
    """Whether the output at a position depends on x at others, so that in a causal network it would see the future.

    That is so where a statistic over positions is taken of a value that varies over them; one over the batch counts,
    because in training it is taken of all positions.
    """
    extents = extents_of(nodes, live)
    for number in live:
        if number >= FIRST and nodes[number - FIRST].args:
            name, args = nodes[number - FIRST]
            index_set = PRIMITIVES[name].index_set
            if index_set is not None and REMOVES[index_set] & extents[args[0]] & Extent.PLANE:
                return True
    return False


def has_pointwise_path(nodes: Sequence[Node], live: Sequence[int]) -> bool:
    """Whether a path without aggregations leads from x to the output; where none does, it is made of statistics alone.

    Args:
        nodes: the nodes.
        live: numbers of the nodes that the output depends on, in order; the last is the output.
    """
    varying = {X}
    for number in live:
        if number >= FIRST:
            name, args = nodes[number - FIRST]
            if name in _ELEMENTWISE and not varying.isdisjoint(args):
                varying.add(number)
    return live[-1] in varying
