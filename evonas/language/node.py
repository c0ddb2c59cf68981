"""Nodes: how they are numbered, which of them a node depends on, and a builder that merges equal ones.

Nodes 0 to 3 are the inputs `x`, `zero`, `v0` and `v1`. A list of nodes holds what follows them, so `nodes[i]` is node
`i + FIRST`: the other leaves that a graph uses (`evonas.language.leaf`), which have no arguments, then operations on
earlier nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeGuard

from evonas.errors import GraphError, shorten
from evonas.language.leaf import INPUTS, Leaf, leaf_named
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, Primitive

__all__ = [
    "FIRST",
    "INPUTS",
    "MAX_NODES",
    "ONE",
    "V0",
    "V1",
    "ZERO",
    "Node",
    "NodeBuilder",
    "X",
    "check_node",
    "check_size",
    "is_number",
    "leaf_at",
    "leaves_first",
    "live_nodes",
    "live_operations",
    "without_dead_nodes",
    "wrong_arity",
]

X, ZERO, V0, V1 = range(4)
FIRST = len(INPUTS)
"""The number of the first node that is not an input."""

MAX_NODES = 128
"""Most nodes a graph may have beside the inputs; twice what a space may ask for, as a canonical form can be longer."""


class Node(NamedTuple):
    """A name in the table of primitives, and the numbers of the nodes that it is applied to; or a leaf and nothing."""

    op: str
    args: tuple[int, ...]


ONE = Node("exp", (ZERO,))
"""The constant 1, which is not an input: exp(0), as derivatives, rewrite rules and listings write it."""


def leaf_at(nodes: Sequence[Node], number: int) -> Leaf | None:
    """The leaf at a number, None for an operation, or for a leaf that only plans of kernels know."""
    if number < FIRST:
        return leaf_named(INPUTS[number])
    op, args = nodes[number - FIRST]
    return None if args else leaf_named(op)


class NodeBuilder:
    """Collects nodes; asking for a node that is there already gives that node again.

    Args:
        limit: most nodes that may be added; None where many of them will turn out dead.
        ops: the operations that may be added, by name; leaves may be added too.

    Attributes:
        nodes: the nodes so far.
    """

    def __init__(self, limit: int | None = MAX_NODES, ops: Mapping[str, Primitive] = PRIMITIVES) -> None:
        self._limit, self._ops = limit, ops
        self.nodes: list[Node] = []
        self._numbers: dict[Node, int] = {}

    def add(self, op: str, *args: int) -> int:
        """The number of the node `op(*args)`, new or known; without arguments that of a leaf.

        Raises:
            GraphError: for an unknown operation, wrong arity, a reference that is not to an earlier node, or more
                nodes than the limit.
        """
        if not args and op in INPUTS:
            return INPUTS.index(op)
        node = Node(op, args)
        known = self._numbers.get(node)
        if known is not None:
            return known
        number = FIRST + len(self.nodes)
        check_node(number, node, self._ops)
        if len(self.nodes) == self._limit:
            raise GraphError(f"the graph has more than {self._limit} nodes")
        self.nodes.append(node)
        self._numbers[node] = number
        return number

    def append(self, node: Node) -> int:
        """The number of `node`, added as it is: unchecked, and a second time where it is there already."""
        self.nodes.append(node)
        number = FIRST + len(self.nodes) - 1
        self._numbers.setdefault(node, number)
        return number


def live_nodes(nodes: Sequence[Node], output: int) -> tuple[int, ...]:
    """Numbers of the nodes that `output` depends on, inputs and itself included, in order; the last is `output`."""
    needed = {output}
    for number in range(output, FIRST - 1, -1):
        if number in needed:
            needed.update(nodes[number - FIRST][1])
    return tuple(sorted(needed))


def live_operations(nodes: Sequence[Node], outputs: Iterable[int], given: Iterable[int] = ()) -> list[int]:
    """Numbers of the nodes that any of `outputs` depends on, without inputs, in order.

    Args:
        nodes: the nodes.
        outputs: numbers of nodes.
        given: nodes whose values are known, so that nothing is needed for them.
    """
    known = set(given)
    live = set(outputs) - known
    for number in range(FIRST + len(nodes) - 1, FIRST - 1, -1):
        if number in live:
            live.update(a for a in nodes[number - FIRST].args if a not in known)
    return sorted(n for n in live if n >= FIRST)


def without_dead_nodes(nodes: Sequence[Node], output: int) -> tuple[tuple[Node, ...], int]:
    """The nodes that `output` depends on, leaves first and else in the same order, and the new number of the output."""
    live = [number for number in live_nodes(nodes, output) if number >= FIRST]
    return leaves_first(nodes, live, output)


def leaves_first(nodes: Sequence[Node], order: Iterable[int], output: int) -> tuple[tuple[Node, ...], int]:
    """Some nodes in a given order, but leaves before all operations, renumbered, and the new number of the output.

    Args:
        nodes: the nodes.
        order: numbers of the nodes to keep, each after its arguments.
        output: the number of one of them, or of an input.
    """
    numbers = {number: number for number in range(FIRST)}
    kept: list[Node] = []
    for number in sorted(order, key=lambda n: bool(nodes[n - FIRST].args)):
        op, args = nodes[number - FIRST]
        numbers[number] = FIRST + len(kept)
        kept.append(Node(op, tuple([numbers[a] for a in args])))
    return tuple(kept), numbers[output]


def is_at_least_root_eps(nodes: Sequence[Node], number: int) -> bool:
    """Whether a node is at least √eps whatever the input: an rms, a standard deviation, or a maximum with one.

    As a divisor it is outside of the clamp, because eps < 1.
    """
    if number < FIRST:
        return False
    name, args = nodes[number - FIRST]
    if name == "max":
        return any(is_at_least_root_eps(nodes, a) for a in args)
    return name in OPERATIONS and OPERATIONS[name].at_least_root_eps


def check_size(nodes: Sequence[object]) -> None:
    """Raises GraphError for more than `MAX_NODES` nodes."""
    if len(nodes) > MAX_NODES:
        raise GraphError(f"the graph has {len(nodes)} nodes; at most {MAX_NODES} are allowed")


def check_node(number: int, node: Node, ops: Mapping[str, Primitive] = PRIMITIVES) -> None:
    """Checks that `node` can be node `number`.

    Raises:
        GraphError: unless it is one of `ops`, applied to the right number of earlier nodes, or a leaf.
    """
    if not node.args and isinstance(node.op, str) and leaf_named(node.op) is not None and node.op not in INPUTS:
        return
    op = ops.get(node.op) if isinstance(node.op, str) else None
    if op is None:
        raise GraphError(f"node {number}: unknown operation {shorten(node.op)}; known: {', '.join(ops)}")
    if len(node.args) != op.arity:
        raise GraphError(f"node {number}: {wrong_arity(op, len(node.args))}")
    for argument in node.args:
        if not (is_number(argument) and 0 <= argument < number):
            raise GraphError(
                f"node {number}: {op.name} refers to node {shorten(argument)}; only the earlier nodes "
                f"0 to {number - 1} may be used"
            )


def wrong_arity(op: Primitive, count: int) -> str:
    """What to say of an operation that is applied to `count` arguments and takes another number of them."""
    takes = "one argument" if op.arity == 1 else f"{op.arity} arguments"
    return f"{op.name} takes {takes}, not {count}"


def is_number(value: object) -> TypeGuard[int]:
    """Whether `value` can be the number of a node."""
    # bool is an int in Python, but `true` is not the number of a node.
    return isinstance(value, int) and not isinstance(value, bool)
