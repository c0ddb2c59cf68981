"""Compiles layers, each once in a process."""

from __future__ import annotations

from functools import lru_cache

from evonas.kernels.compiled_layer import AddingLayer, CompiledLayer
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.language.graph import Graph
from evonas.layers.build_clock import building
from evonas.layers.running_values import running_names

graph_of = lru_cache(maxsize=512)(Graph.from_json)
"""Graphs by their JSON, so that training and evaluation, and both backends, share one parsed graph."""


@lru_cache(maxsize=512)
def compiled_layer(backend: str, graph: str, training: bool) -> CompiledLayer:
    """The compiled form of a layer; the same in both modes if it has no statistics over the batch.

    Operators of PyTorch can carry a graph only as text. Every call looks its layer up here, and finds it faster by a
    text than by a `Graph`, because Python stores the hash of a text.

    Args:
        backend: `triton` or `cpp`.
        graph: the JSON of the layer before its affine.
        training: whether statistics over the batch are computed from the input.
    """
    with building():
        layer = graph_of(graph)
        if not training and not running_names(layer):
            return compiled_layer(backend, graph, True)
        if backend == "triton":
            return _in_triton(layer, training)
        from evonas.kernels.cpp.run import CppLayer

        return CppLayer(layer, training)


@lru_cache(maxsize=512)
def adding_layer(backend: str, graph: str) -> AddingLayer:
    """The row kernels of a layer that has some (`evonas.kernels.registration`), which add a residual on the way.

    Args:
        backend, graph: as for `compiled_layer`.
    """
    if backend == "triton":
        from evonas.kernels.triton.run_either import TritonEitherLayer
        from evonas.kernels.triton.run_rows import TritonRowLayer

        found = compiled_layer(backend, graph, True)
        rows = found.rows if isinstance(found, TritonEitherLayer) else found
        assert isinstance(rows, TritonRowLayer)  # by the promise of the caller
        return rows
    from evonas.kernels.cpp.run import CppLayer

    layer = compiled_layer(backend, graph, True)
    assert isinstance(layer, CppLayer)  # the only layers of this backend
    return layer


def _in_triton(graph: Graph, training: bool) -> CompiledLayer:
    """The kernels of a layer in Triton, which is imported only when it is used: it may be missing."""
    kinds = kinds_of(graph)
    if PlanKind.PLANES not in kinds:
        from evonas.kernels.triton.run_rows import TritonRowLayer

        return TritonRowLayer(graph)
    if PlanKind.ROWS in kinds:
        from evonas.kernels.triton.run_either import TritonEitherLayer

        return TritonEitherLayer(graph, training)
    from evonas.kernels.triton.run import TritonLayer

    return TritonLayer(graph, training)
