"""Canonical form: one spelling for all the spellings of a function.

Dead nodes are dropped, algebraic identities are applied bottom-up from a table of named rules
(`evonas.language.rewrite_rules`), equal sub-graphs merge, and the arguments of commutative operations are sorted.
Every rule keeps the function in training and its gradients, to rounding and where values are finite; tests apply each
to random arguments and compare. In evaluation one thing differs: a batch statistic of a parameter, which training makes
equal to a function of that parameter, is replaced by that function rather than by its running value. Candidates are
trained, scored and exported in canonical form.
A rule that holds almost everywhere but not at a clamp or a tie is left out: the functional key
(`evonas.judging.functional_key`) catches what these rules do not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from evonas.language.node import FIRST, INPUTS, ONE, Node, NodeBuilder
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Primitive
from evonas.language.rewrite_rules import RULES
from evonas.language.varying_axes import INPUT_EXTENTS, Extent, result_extent


class Rewriter:
    """A graph being rebuilt, node by node, out of simplified nodes.

    Args:
        ops: the operations that its nodes may have.
    """

    def __init__(self, ops: Mapping[str, Primitive] = PRIMITIVES) -> None:
        self.ops = ops
        self.builder = NodeBuilder(limit=None, ops=ops)  # many of its nodes are replaced by later ones
        self.extents: list[Extent] = list(INPUT_EXTENTS)
        self._leaves: dict[str, int] = {}
        # (height, digest) of each node, which do not depend on how it and its arguments are numbered.
        self.identities: list[tuple[int, str]] = [(0, name) for name in INPUTS]

    def add(self, name: str, *args: int) -> int:
        """The number of the simplified form of `name(*args)`, whose arguments are simplified already."""
        op = self.ops[name]
        if op.commutative:
            args = tuple(sorted(args, key=self.identities.__getitem__))
        for rule in RULES_OF.get(name, ()):
            replacement = rule.apply(self, op, *args)
            if replacement is not None:
                return replacement
        number = self.builder.add(name, *args)
        self._describe(number, name, args)
        return number

    def leaf(self, name: str, extent: Extent) -> int:
        """The number of a leaf that is not an input; asking for the same name again gives the same leaf.

        Args:
            name: the name, which is not that of an operation.
            extent: the axes that its value varies over.
        """
        number = self._leaves.get(name)
        if number is None:
            number = self._leaves[name] = self.builder.append(Node(name, ()))
            self.extents.append(extent)
            self.identities.append((0, name))
        return number

    def load(self, nodes: Sequence[Node], training: bool = True) -> None:
        """Adds the nodes of a graph as they are, under their own numbers; it has to be called first.

        Args:
            nodes: the operations.
            training: whether statistics over the batch are computed; in evaluation each is one number for each
                channel, whatever its argument.
        """
        for number, node in enumerate(nodes, FIRST):
            name, args = node
            self.builder.append(node)
            self._describe(number, name, args)
            if not training and self.ops[name].index_set is IndexSet.BWH:
                self.extents[number] = Extent.CHANNEL

    def _describe(self, number: int, name: str, args: tuple[int, ...]) -> None:
        if number == len(self.extents):
            self.extents.append(result_extent(self.ops[name], [self.extents[a] for a in args]))
            self.identities.append(self._identity(name, args))

    def is_op(self, number: int, name: str) -> bool:
        """Whether node `number` is an operation called `name`."""
        return number >= FIRST and self.builder.nodes[number - FIRST].op == name

    def argument(self, number: int, place: int = 0) -> int:
        """An argument of the operation at `number`."""
        return self.builder.nodes[number - FIRST].args[place]

    def op(self, number: int) -> Primitive | None:
        """The operation at `number`, None for an input or another leaf."""
        return self.ops.get(self.builder.nodes[number - FIRST].op) if number >= FIRST else None

    def is_one(self, number: int) -> bool:
        """Whether the node is the constant 1."""
        return number >= FIRST and self.builder.nodes[number - FIRST] == ONE

    def one(self) -> int:
        """The node that is the constant 1."""
        return self.add(ONE.op, *ONE.args)

    def _identity(self, name: str, args: tuple[int, ...]) -> tuple[int, str]:
        parts = [self.identities[a] for a in args]
        text = name + "(" + ",".join(digest_ for _, digest_ in parts) + ")"
        return 1 + max(height for height, _ in parts), hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


RULES_OF = {name: tuple(rule for rule in RULES if name in rule.ops) for name in OPERATIONS}


def simplify(nodes: Sequence[Node], live: Sequence[int]) -> tuple[tuple[Node, ...], int]:
    """The canonical form of a graph: the operations of an equal function in one fixed order, and its output.

    Args:
        nodes: the operations.
        live: numbers of the nodes that the output depends on, in order; the last is the output.
    """
    rewriter = Rewriter()
    numbers = {number: number for number in range(FIRST)}
    for number in live:
        if number >= FIRST:
            op, args = nodes[number - FIRST]
            numbers[number] = rewriter.add(op, *(numbers[a] for a in args))
    return _renumbered(rewriter.builder.nodes, numbers[live[-1]])


def _renumbered(rewritten: Sequence[Node], output: int) -> tuple[tuple[Node, ...], int]:
    """What `output` depends on, in the order in which a depth-first walk from there finishes the nodes."""
    numbers = {number: number for number in range(FIRST)}
    nodes: list[Node] = []
    stack = [output]
    while stack:
        number = stack[-1]
        if number in numbers:
            stack.pop()
            continue
        op, args = rewritten[number - FIRST]
        missing = [a for a in reversed(args) if a not in numbers]
        if missing:
            stack.extend(missing)
            continue
        numbers[number] = FIRST + len(nodes)
        nodes.append(Node(op, tuple(numbers[a] for a in args)))
        stack.pop()
    return tuple(nodes), numbers[output]


def digest(nodes: Sequence[Node], output: int) -> str:
    """A digest of 16 hexadecimal digits of a graph in canonical form."""
    text = repr((output, [(op, args) for op, args in nodes]))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
