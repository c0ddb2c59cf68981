"""The running values of a layer: one buffer for each statistic over the batch."""

from __future__ import annotations

from evonas.language.graph import FIRST, Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment

_NAMES = {Moment.MEAN: "running_mean", Moment.RMS: "running_square", Moment.STD: "running_var"}


def running_names(graph: Graph) -> dict[int, str]:
    """The buffer's name for each node over `bwh` that the output depends on, by node number."""
    names: dict[int, str] = {}
    for number in graph.live:
        op = PRIMITIVES[graph.node(number).op] if number >= FIRST else None
        if op is not None and op.index_set is IndexSet.BWH and op.moment is not None:
            name = _NAMES[op.moment]
            before = sum(other.startswith(name) for other in names.values())
            names[number] = f"{name}_{before}" if before else name
    return names
