"""Random graphs for property tests, and what a graph gives on a fixed probe."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from hypothesis import strategies as st
from torch import Tensor

from evonas.language.graph import FIRST, Graph, Node
from evonas.language.primitive_table import PRIMITIVES
from evonas.language.varying_axes import INPUT_EXTENTS, Extent, result_extent
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
    nodes: list[Node] = []
    for number in range(FIRST, FIRST + draw(st.integers(0, max_nodes))):
        op = PRIMITIVES[draw(st.sampled_from(sorted(PRIMITIVES)))]
        nodes.append(Node(op.name, tuple(draw(st.integers(0, number - 1)) for _ in range(op.arity))))
    return Graph(tuple(nodes), draw(st.integers(0, FIRST + len(nodes) - 1)))


def graphs() -> st.SearchStrategy[Graph]:
    """Graphs of both kinds."""
    return st.one_of(sampled(), built())


def seeded_graphs(count: int) -> Iterator[tuple[str, Graph]]:
    """`count` random graphs of each space, with a label that reproduces each."""
    for space in SPACES.values():
        for seed in range(count):
            yield f"{space.name}.random_graph(generator({seed}))", space.random_graph(generator(seed))


def probe(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """x, v0 and v1 in float64, all of them random: at 0 and 1 different graphs give one value."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=source, dtype=torch.float64) * 1.5 + 0.25
    v0, v1 = torch.randn(2, shape[1], generator=source, dtype=torch.float64)
    return x, v0, v1 + 1


def value_and_gradients(graph: Graph, leaves: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """The output, and the gradients of a fixed random functional of it with respect to x, v0 and v1."""
    x, v0, v1 = (leaf.clone().requires_grad_() for leaf in leaves)
    y = evaluate(graph, x, v0, v1, groups=GROUPS)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    if not y.requires_grad:
        return y, torch.zeros_like(x), torch.zeros_like(v0), torch.zeros_like(v1)
    gradients = torch.autograd.grad((y * dy).sum(), (x, v0, v1), materialize_grads=True)
    return y.detach(), *gradients


def reads_x(graph: Graph) -> bool:
    """Whether any path leads from x to the output."""
    return 0 in graph.live


def extents(graph: Graph) -> tuple[Extent, ...]:
    """The extent of every node, inputs first."""
    known = list(INPUT_EXTENTS)
    for node in graph.nodes:
        known.append(result_extent(PRIMITIVES[node.op], [known[i] for i in node.args]))
    return tuple(known)
