"""Families of layers by what they do (a first version)."""

from evonas.language.graph import Graph

Family = str


def family_of(graph: Graph) -> Family:
    """The family of a graph."""
    graph = graph.canonical
    ops = {graph.node(number).op for number in graph.live if number >= 4}
    return "+".join(sorted(op.split("_")[1] for op in ops if "_" in op)) + ("max" if "max" in ops else "")
