"""Families of layers: candidates that normalise in the same way."""

from __future__ import annotations

from evonas.language.graph import FIRST, Graph
from evonas.language.primitive_table import PRIMITIVES

Family = str
"""A family; as text it says what its layers have in common."""


def family_of(graph: Graph) -> Family:
    """The family of a layer: the aggregations of its canonical form, in alphabetical order."""
    canonical = graph.canonical
    operations = {canonical.node(number).op for number in canonical.live if number >= FIRST}
    return " ".join(sorted(op for op in operations if PRIMITIVES[op].moment is not None)) or "no statistics"
