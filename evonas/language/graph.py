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
    live_nodes,
    without_dead_nodes,
)
from evonas.language.simplify import digest, simplify

__all__ = ["FIRST", "INPUTS", "MAX_NODES", "V0", "V1", "ZERO", "Graph", "GraphBuilder", "Node", "X", "trimmed"]


@dataclass(frozen=True)
class Graph:
    """A layer before its affine. Build one with `Graph.parse`, `Graph.from_json` or `GraphBuilder`.

    Attributes:
        nodes: the operations; `nodes[i]` is node `i + 4`.
        output: the number of the output node.

    Raises:
        GraphError: for an unknown operation, wrong arity, a reference that is not to an earlier node,
            more than `MAX_NODES` operations, or an output that does not exist.
    """

    nodes: tuple[Node, ...]
    output: int

    def __post_init__(self) -> None:
        check_size(self.nodes)
        for number, node in enumerate(self.nodes, FIRST):
            check_node(number, node)
        if not (is_number(self.output) and 0 <= self.output < FIRST + len(self.nodes)):
            raise GraphError(f"the output is node {shorten(self.output)}, which does not exist")

    @staticmethod
    def of_valid(nodes: tuple[Node, ...], output: int) -> Graph:
        """The graph of nodes that are known to be valid, made without checking them again.

        Raises:
            GraphError: for more than `MAX_NODES` operations.
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
        """The graph in `{"nodes": [["mul", [3, 0]], …]}`, given as JSON text or as the object it holds.

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

    def node(self, number: int) -> Node:
        """The operation at `number`, which must not be an input."""
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
