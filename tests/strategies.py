"""Random graphs for property tests, and the values of a graph on a fixed probe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.primitive_table import PRIMITIVES
from evonas.language.varying_axes import INPUT_EXTENTS, Extent, result_extent
from evonas.language.zoo import zoo
from evonas.layers.reference import evaluate
from evonas.search_spaces import SPACES
from evonas.settings.search_space import SearchSpace, generator

SHAPE = (3, 4, 5, 2)
"""Shape of a probe: four different extents, so that axes cannot be confused, and 2 groups of 2 channels."""
GROUPS = 2


def sampled(spaces: tuple[SearchSpace, ...] = tuple(SPACES.values())) -> st.SearchStrategy[Graph]:
    """Graphs as a search draws them; a failing example is reproduced by its space and seed."""
    return st.builds(
        lambda space, seed: space.random_graph(generator(seed)),
        st.sampled_from(spaces),
        st.integers(0, 2**32 - 1),
    )


@st.composite
def built(draw: st.DrawFn, max_nodes: int = 10) -> Graph:
    """Graphs of any size and output, drawn node by node, so that a failing example shrinks to few nodes."""
    leaves = draw(st.lists(st.sampled_from(["s0", "s1", "0.5", "2.0", "0.1"]), unique=True, max_size=2))
    nodes = [Node(name, ()) for name in leaves]
    first = FIRST + len(nodes)
    for number in range(first, first + draw(st.integers(0, max_nodes))):
        op = PRIMITIVES[draw(st.sampled_from(sorted(PRIMITIVES)))]
        nodes.append(Node(op.name, tuple(draw(st.integers(0, number - 1)) for _ in range(op.arity))))
    return Graph(tuple(nodes), draw(st.integers(0, FIRST + len(nodes) - 1)))


def graphs() -> st.SearchStrategy[Graph]:
    """Graphs of both kinds."""
    return st.one_of(sampled(), built())


OPEN = replace(
    SPACES["evonorm"],
    name="open",
    operations=(*SPACES["evonorm"].operations, "erf"),
    leaves=("s0", "s1", "0.5", "2"),
)
"""A space with every leaf and every element-wise operation, whose statistics are taken over whole planes."""
OF_PLANES = (SPACES["evonorm"], SPACES["evonorm-s"], OPEN)
"""Spaces whose statistics are taken over whole planes."""
ZOO_OF_PLANES = {name: graph for name, graph in zoo.items() if PlanKind.PLANES in kinds_of(graph)}
"""The layers of the zoo that sweeps over planes can compute."""


def seeded_graphs(count: int, spaces: Iterable[SearchSpace] = tuple(SPACES.values())) -> Iterator[tuple[str, Graph]]:
    """`count` random graphs of each space, with a label that reproduces each."""
    for space in spaces:
        for seed in range(count):
            yield f"{space.name}.random_graph(generator({seed}))", space.random_graph(generator(seed))


def probe(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, dict[str, Tensor]]:
    """A random x and random parameters in float64, because different graphs may agree at 0 and 1."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=source, dtype=torch.float64) * 1.5 + 0.25
    v0, v1 = torch.randn(2, shape[1], generator=source, dtype=torch.float64)
    s0, s1 = torch.randn(2, generator=source, dtype=torch.float64)
    return x, {"v0": v0, "v1": v1 + 1, "s0": s0, "s1": s1 + 1}


def value_and_gradients(graph: Graph, x: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the output `y`, and the gradients of a fixed random functional of it with respect to x and parameters."""
    leaves = {name: value.clone().requires_grad_() for name, value in {"x": x, **parameters}.items()}
    y = evaluate(graph, leaves["x"], leaves, groups=GROUPS)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    if not y.requires_grad:
        return {"y": y, **{name: torch.zeros_like(value) for name, value in leaves.items()}}
    gradients = torch.autograd.grad((y * dy).sum(), list(leaves.values()), materialize_grads=True)
    return {"y": y.detach(), **dict(zip(leaves, gradients, strict=True))}


def reads_x(graph: Graph) -> bool:
    """Return whether there is a path from x to the output."""
    return 0 in graph.live


def extents(graph: Graph) -> tuple[Extent, ...]:
    """The extent of every node, inputs first."""
    known = list(INPUT_EXTENTS)
    for number, node in enumerate(graph.nodes, FIRST):
        leaf = graph.leaf(number)
        if leaf is not None:
            known.append(leaf.extent)
            continue
        known.append(result_extent(PRIMITIVES[node.op], [known[i] for i in node.args]))
    return tuple(known)
