"""Which kernels can compute a layer, by what its statistics reduce."""

from __future__ import annotations

from enum import Enum

from evonas.language.axes import REMOVES, Extent, IndexSet
from evonas.language.graph import Graph
from evonas.language.primitive_table import PRIMITIVES


class PlanKind(Enum):
    """The kernels that a layer can have.

    PLANES: sweeps over planes, where every statistic is taken over whole planes, or of what is constant on them.
    ROWS: every position by itself, where every statistic is taken over the channels at one position.
    """

    PLANES = "planes"
    ROWS = "rows"


def kinds_of(graph: Graph) -> frozenset[PlanKind]:
    """The kernels that can compute a layer: both where it takes no statistics, none where it mixes the two kinds."""
    kinds = {PlanKind.PLANES, PlanKind.ROWS}
    for number in graph.operations:
        name, args = graph.node(number)
        index_set, argument = PRIMITIVES[name].index_set, graph.extents[args[0]]
        if index_set is None:
            continue
        # One over the batch has a running value, even where its argument varies over channels alone.
        if index_set is IndexSet.BWH or REMOVES[index_set] & argument & Extent.PLANE:
            kinds.discard(PlanKind.ROWS)
        if argument & Extent.PLANE and not REMOVES[index_set] & Extent.PLANE:
            kinds.discard(PlanKind.PLANES)
    return frozenset(kinds)
