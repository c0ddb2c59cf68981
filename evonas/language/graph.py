"""`Graph`, a layer as a value: an immutable directed acyclic graph of primitives.

The output is the last node, except in a graph that returns an input. Graphs are compared by structure; two graphs
that spell the same function differently share a `key`. Reading, printing and simplifying are in files of their own,
which work on lists of nodes (`evonas.language.node`); `Graph` puts them together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from evonas.errors import GraphError, shorten
from evonas.language import expression, graph_json
from evonas.language.axes import Extent
from evonas.language.leaf import PARAMETERS, Leaf
from evonas.language.node import (
    FIRST,
    INPUTS,
    MAX_NODES,
    V0,
    V1,
    ZERO,
    Node,
    NodeBuilder,
    X,
    check_node,
    check_size,
    is_number,
    leaf_at,
    live_nodes,
    without_dead_nodes,
)
from evonas.language.simplify import digest, simplify
from evonas.language.varying_axes import extents_of, mixes_positions

__all__ = ["FIRST", "INPUTS", "MAX_NODES", "V0", "V1", "ZERO", "Graph", "GraphBuilder", "Node", "X", "trimmed"]


@dataclass(frozen=True)
class Graph:
    """A layer before its affine. Build one with `Graph.parse`, `Graph.from_json` or `GraphBuilder`.

    Attributes:
        nodes: the leaves beside the four inputs, each once, then the operations; `nodes[i]` is node `i + 4`.
        output: the number of the output node.

    Raises:
        GraphError: for an unknown operation or leaf, wrong arity, a reference that is not to an earlier node, a leaf
            that is there twice or after an operation, more than `MAX_NODES` nodes, or an output that does not exist.
    """

    nodes: tuple[Node, ...]
    output: int

    def __post_init__(self) -> None:
        check_size(self.nodes)
        for number, node in enumerate(self.nodes, FIRST):
            check_node(number, node)
            if not node.args and (node in self.nodes[: number - FIRST] or number > self.first):
                raise GraphError(f"node {number}: the leaf {node.op} must be there once, before all operations")
        if not (is_number(self.output) and 0 <= self.output < FIRST + len(self.nodes)):
            raise GraphError(f"the output is node {shorten(self.output)}, which does not exist")

    @staticmethod
    def of_valid(nodes: tuple[Node, ...], output: int) -> Graph:
        """The graph of nodes that are known to be valid, made without checking them again.

        Raises:
            GraphError: for more than `MAX_NODES` nodes.
        """
        check_size(nodes)
        graph = object.__new__(Graph)
        graph.__dict__.update(nodes=nodes, output=output)
        return graph

    @staticmethod
    def parse(text: str) -> Graph:
        """The graph that an expression such as `x * sigmoid(v1 * x) / std_whcg(x)` describes.

        Raises:
            GraphError: when the text is not an expression; the message names the column.
        """
        return Graph(*expression.parse(text))

    @staticmethod
    def from_json(source: str | bytes | Mapping[str, object]) -> Graph:
        """The graph in `{"version": 2, "nodes": [["mul", ["v1", "x"]], …]}`, as JSON text or as the object it holds.

        Raises:
            GraphError: when the JSON is not a graph; the message names the node.
        """
        return Graph(*graph_json.read(source))

    def __deepcopy__(self, memo: dict[int, object]) -> Graph:
        """Itself, because it never changes: copies of networks would spend most of their time on it."""
        return self

    def to_json(self, space: str = graph_json.DEFAULT_SPACE) -> str:
        """The graph as one line of JSON; `Graph.from_json` is its inverse.

        Args:
            space: the name of the search space, written beside the nodes for people; `from_json` ignores it.
        """
        return graph_json.write(self.nodes, self.output, space)

    @cached_property
    def first(self) -> int:
        """The number of the first operation; the leaves beside the inputs have the numbers from 4 to it."""
        return FIRST + next((place for place, node in enumerate(self.nodes) if node.args), len(self.nodes))

    @cached_property
    def operations(self) -> tuple[int, ...]:
        """Numbers of the operations that the output depends on, in order."""
        return tuple([number for number in self.live if number >= self.first])

    @cached_property
    def parameters(self) -> tuple[Leaf, ...]:
        """The trained leaves that the output depends on, in the order of the table of leaves."""
        used = {leaf.name for number in self.live if (leaf := self.leaf(number)) is not None}
        return tuple(leaf for leaf in PARAMETERS if leaf.name in used)

    @cached_property
    def extents(self) -> Mapping[int, Extent]:
        """The axes that each live node varies over, by its number."""
        return extents_of(self.nodes, self.live)

    @cached_property
    def mixes_positions(self) -> bool:
        """Whether the output at a position depends on x at others; a causal network cannot have such a layer.

        Statistics over `whc`, `wh` and `whcg` mix positions, and those over `bwh` do in training.
        """
        return mixes_positions(self.nodes, self.live)

    @property
    def last(self) -> int:
        """The number of the last node, an input where there are no operations."""
        return FIRST + len(self.nodes) - 1

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Numbers of the nodes that the output depends on, itself included, in order."""
        return live_nodes(self.nodes, self.output)

    @cached_property
    def canonical(self) -> Graph:
        """The canonical form: the same function, simplified, with its nodes in one fixed order."""
        return Graph.of_valid(*simplify(self.nodes, self.live))

    @cached_property
    def key(self) -> str:
        """A digest of the canonical form: graphs with equal keys are the same function."""
        return digest(self.canonical.nodes, self.canonical.output)

    def written(self, limit: int = 90) -> str:
        """The graph as text for people, cut to `limit` characters; unlike `expression` it always succeeds."""
        try:
            text = self.expression()
        except GraphError:  # shared nodes, written out at each use, would fill many pages
            return f"a graph of {len(self.live)} nodes"
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def expression(self) -> str:
        """The graph as text that `Graph.parse` reads; shared nodes are written out at each use.

        Raises:
            GraphError: when that is longer than `evonas.language.expression.MAX_TEXT`.
        """
        return expression.to_text(self.nodes, self.live)

    def latex(self) -> str:
        """The graph as LaTeX mathematics, without delimiters.

        Raises:
            GraphError: when it is longer than `evonas.language.expression.MAX_TEXT`.
        """
        return expression.to_latex(self.nodes, self.live)

    def _repr_latex_(self) -> str:
        """The formula, as a notebook shows it."""
        return f"$\\displaystyle {self.latex()}$"

    def _repr_html_(self) -> str:
        """The formula, the expression and the tree, as a notebook shows them."""
        from evonas.language.graph_html import graph_html

        return graph_html(self)

    def leaf(self, number: int) -> Leaf | None:
        """The leaf at `number`; None for an operation."""
        return leaf_at(self.nodes, number)

    def node(self, number: int) -> Node:
        """The node at `number`, which must not be an input."""
        return self.nodes[number - FIRST]

    def __str__(self) -> str:
        return self.expression()


class GraphBuilder(NodeBuilder):
    """Builds a graph node by node; see `NodeBuilder` for its arguments."""

    def build(self, output: int) -> Graph:
        """The graph with the given output and only the nodes it depends on, in order."""
        return trimmed(self.nodes, output)


def trimmed(nodes: Sequence[Node], output: int) -> Graph:
    """The graph of `output` without the nodes that it does not depend on."""
    return Graph(*without_dead_nodes(nodes, output))
