"""A layer as a value: an immutable directed acyclic graph of primitives.

Nodes 0 to 3 are the inputs `x`, `zero`, `v0` and `v1`; nodes 4 onward are operations on earlier nodes.
The output is the last node, except in a graph that hands an input through. Graphs are compared by
structure; two graphs that write the same function differently share a `key`. Evaluating, simplifying,
printing and drawing are each a reader in a file of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeGuard

from evonas.errors import GraphError, shorten
from evonas.language.primitive_table import PRIMITIVES, Primitive

INPUTS = ("x", "zero", "v0", "v1")
"""Names of nodes 0 to 3."""
X, ZERO, V0, V1 = range(4)
FIRST = len(INPUTS)

MAX_NODES = 128
"""Most operations a graph may have; twice what a search space may ask for, as a canonical form can be longer."""


class Node(NamedTuple):
    """One operation: its name in the table of primitives and the numbers of the nodes that it is applied to."""

    op: str
    args: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A layer before its affine. Build one with `Graph.parse`, `Graph.from_json` or `GraphBuilder`.

    Attributes:
        nodes: the operations; `nodes[i]` is node `i + 4`.
        output: the number of the output node.

    Raises:
        GraphError: for an unknown operation, wrong arity, a reference that is not to an earlier node,
            more than `MAX_NODES` operations, or an output that is not there.
    """

    nodes: tuple[Node, ...]
    output: int

    def __post_init__(self) -> None:
        _check_size(self.nodes)
        for number, node in enumerate(self.nodes, FIRST):
            _check(number, node)
        if not (is_number(self.output) and 0 <= self.output < FIRST + len(self.nodes)):
            raise GraphError(f"the output is node {shorten(self.output)}, which is not there")

    @staticmethod
    def of_valid(nodes: tuple[Node, ...], output: int) -> Graph:
        """The graph of nodes that are known to be valid, made without looking at them again.

        Raises:
            GraphError: for more than `MAX_NODES` operations.
        """
        _check_size(nodes)
        graph = object.__new__(Graph)
        graph.__dict__.update(nodes=nodes, output=output)
        return graph

    @staticmethod
    def parse(text: str) -> Graph:
        """The graph that an expression such as `x * sigmoid(v1 * x) / std_whcg(x)` describes.

        Raises:
            GraphError: when the text is no expression; the message names the column.
        """
        from evonas.language.expression import parse

        return parse(text)

    @staticmethod
    def from_json(source: str | bytes | Mapping[str, object]) -> Graph:
        """The graph in `{"nodes": [["mul", [3, 0]], …]}`, given as JSON text or as the object it holds.

        Raises:
            GraphError: when the JSON is not a graph; the message names the node.
        """
        from evonas.language.graph_json import read

        return read(source)

    def __deepcopy__(self, memo: dict[int, object]) -> Graph:
        """Itself, for it never changes: copies of networks would spend most of their time on it."""
        return self

    def to_json(self, space: str = "evonorm") -> str:
        """The graph as one line of JSON; `Graph.from_json` is its inverse.

        Args:
            space: the name of the search space, written beside the nodes for the reader.
        """
        from evonas.language.graph_json import write

        return write(self, space)

    @property
    def last(self) -> int:
        """The number of the last node, an input where there are no operations."""
        return FIRST + len(self.nodes) - 1

    @cached_property
    def live(self) -> tuple[int, ...]:
        """Numbers of the nodes that the output depends on, itself included, in order."""
        return _live(self.nodes, self.output)

    @cached_property
    def canonical(self) -> Graph:
        """The canonical form: the same function, simplified, in one of its many possible spellings."""
        from evonas.language.simplify import simplify

        return simplify(self)

    @cached_property
    def key(self) -> str:
        """A digest of the canonical form: graphs with one key are the same function."""
        from evonas.language.simplify import digest

        return digest(self.canonical)

    def written(self, limit: int = 90) -> str:
        """The graph as text for people, cut to `limit` characters; unlike `expression` it always succeeds."""
        try:
            text = self.expression()
        except GraphError:  # shared nodes, written out at each use, would fill pages
            return f"a graph of {len(self.live)} nodes"
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def expression(self) -> str:
        """The graph as text that `Graph.parse` reads; shared nodes are written out at each use."""
        from evonas.language.expression import to_text

        return to_text(self)

    def latex(self) -> str:
        """The graph as LaTeX mathematics, without delimiters."""
        from evonas.language.expression import to_latex

        return to_latex(self)

    def node(self, number: int) -> Node:
        """The operation at `number`, which must not be an input."""
        return self.nodes[number - FIRST]

    def __str__(self) -> str:
        return self.expression()


class GraphBuilder:
    """Builds a graph node by node; asking for a node that is there already gives that node again.

    Args:
        limit: most operations that may be added; None where many of them will turn out dead.
        ops: the operations that may be added, by name.
    """

    def __init__(self, limit: int | None = MAX_NODES, ops: Mapping[str, Primitive] = PRIMITIVES) -> None:
        self._limit, self._ops = limit, ops
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}

    def add(self, op: str, *args: int) -> int:
        """The number of the node `op(*args)`, new or known.

        Raises:
            GraphError: as `Graph` does.
        """
        node = Node(op, args)
        known = self._numbers.get(node)
        if known is not None:
            return known
        number = FIRST + len(self.nodes)
        _check(number, node, self._ops)
        if len(self.nodes) == self._limit:
            raise GraphError(f"the graph has more than {self._limit} operations")
        self.nodes.append(node)
        self._numbers[node] = number
        return number

    def append(self, node: Node) -> int:
        """The number of `node`, added as it is: unchecked, and a second time where it is there already."""
        self.nodes.append(node)
        number = FIRST + len(self.nodes) - 1
        self._numbers.setdefault(node, number)
        return number

    def build(self, output: int) -> Graph:
        """The graph with the given output and only the nodes it depends on, in order."""
        return trimmed(self.nodes, output)


def trimmed(nodes: Sequence[Node], output: int) -> Graph:
    """The graph of `output` without the nodes that it does not depend on."""
    live = _live(nodes, output)
    numbers = {number: number for number in range(FIRST)}
    kept: list[Node] = []
    for number in live:
        if number >= FIRST:
            op, args = nodes[number - FIRST]
            numbers[number] = FIRST + len(kept)
            kept.append(Node(op, tuple(numbers[a] for a in args)))
    return Graph(tuple(kept), numbers[output])


def _live(nodes: Sequence[Node], output: int) -> tuple[int, ...]:
    needed = {output}
    for number in range(output, FIRST - 1, -1):
        if number in needed:
            needed.update(nodes[number - FIRST][1])
    return tuple(sorted(needed))


def _check_size(nodes: Sequence[Node]) -> None:
    if len(nodes) > MAX_NODES:
        raise GraphError(f"the graph has {len(nodes)} operations; at most {MAX_NODES} are allowed")


def _check(number: int, node: Node, ops: Mapping[str, Primitive] = PRIMITIVES) -> None:
    op = ops.get(node.op) if isinstance(node.op, str) else None
    if op is None:
        raise GraphError(f"node {number}: unknown operation {shorten(node.op)}; known: {', '.join(ops)}")
    if len(node.args) != op.arity:
        takes = "one argument" if op.arity == 1 else f"{op.arity} arguments"
        raise GraphError(f"node {number}: {op.name} takes {takes}, not {len(node.args)}")
    for argument in node.args:
        if not (is_number(argument) and 0 <= argument < number):
            raise GraphError(
                f"node {number}: {op.name} refers to node {shorten(argument)}; only the earlier nodes "
                f"0 to {number - 1} may be used"
            )


def is_number(value: object) -> TypeGuard[int]:
    """Whether `value` can be the number of a node."""
    # bool is an int in Python, but `true` is no node number.
    return isinstance(value, int) and not isinstance(value, bool)
