"""Which axes each node of a graph varies over.

Every index set is a union of whole (h, w) planes, so values are of a few kinds: a value varies within a
plane or not, with the sample or not, and with the channel, with the channel's group only, or with
neither. `Extent` says which, as a set of flags. An element-wise result varies over every axis that one of
its arguments varies over; an aggregation removes the axes of its index set.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Flag

from evonas.language.node import FIRST, Node, X
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Primitive


class Extent(Flag):
    """The axes that a value varies over.

    `CHANNEL` is made of `GROUP`, which group of channels it is, and `MEMBER`, which channel of the group. Every bit has
    a name of its own, because the complement of a flag drops bits without a name.
    """

    NONE = 0
    GROUP = 1
    MEMBER = 2
    CHANNEL = 3
    BATCH = 4
    PLANE = 8
    FULL = 15


REMOVES: dict[IndexSet, Extent] = {
    IndexSet.BWH: Extent.BATCH | Extent.PLANE,
    IndexSet.WHC: Extent.CHANNEL | Extent.PLANE,
    IndexSet.WH: Extent.PLANE,
    # The channels of a group are averaged, but the result still depends on the group.
    IndexSet.WHCG: Extent.MEMBER | Extent.PLANE,
}

_ELEMENTWISE = frozenset(op.name for op in PRIMITIVES.values() if not op.is_aggregation)

INPUT_EXTENTS = (Extent.FULL, Extent.NONE, Extent.CHANNEL, Extent.CHANNEL)
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


def varies_on_planes(nodes: Sequence[Node], live: Sequence[int]) -> bool:
    """Whether a graph's output may vary within a plane: a path without aggregations leads there from x.

    Args:
        nodes: the operations.
        live: numbers of the nodes that the output depends on, in order; the last is the output.
    """
    varying = {X}
    for number in live:
        if number >= FIRST:
            name, args = nodes[number - FIRST]
            if name in _ELEMENTWISE and not varying.isdisjoint(args):
                varying.add(number)
    return live[-1] in varying
