"""Rewriting: nodes are added one at a time, and rules replace each by a simpler one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evonas.language.leaf import constant_name, leaf_named
from evonas.language.node import FIRST, INPUTS, ONE, ZERO, Node, NodeBuilder
from evonas.language.primitive_table import IndexSet, Primitive
from evonas.language.varying_axes import INPUT_EXTENTS, Extent, result_extent


@dataclass(frozen=True, slots=True)
class Rule:
    """One identity.

    Attributes:
        name: the identity itself.
        ops: the names of the operations that it may replace.
        apply: `apply(rewriter, op, *args)` returns the number of the node that replaces `op(*args)`, or None where
            the identity does not apply.
    """

    name: str
    ops: tuple[str, ...]
    apply: Callable[..., int | None]


class Rewriter:
    """A graph being rebuilt, node by node, out of simplified nodes.

    Args:
        ops: the operations that its nodes may have, by name.
        rules: the rules to apply to each operation, by its name, in this order.

    Attributes:
        builder: the nodes so far.
        extents: the axes that each of them varies over, inputs first.
    """

    def __init__(self, ops: Mapping[str, Primitive], rules: Mapping[str, Sequence[Rule]]) -> None:
        self.ops, self._rules = ops, rules
        self.builder = NodeBuilder(limit=None, ops=ops)  # many of its nodes are replaced by later ones
        self.extents: list[Extent] = list(INPUT_EXTENTS)
        self._leaves: dict[str, int] = {}
        # (height, digest) of each node, which do not depend on how it and its arguments are numbered.
        self._identities: list[tuple[int, str]] = [(0, name) for name in INPUTS]

    def add(self, name: str, *args: int) -> int:
        """The number of the simplified form of `name(*args)`, whose arguments are simplified already.

        Without arguments it is that of a leaf; the number 1 is written as derivatives and rules write it.
        """
        if not args:
            leaf = leaf_named(name)
            assert leaf is not None  # every operation has arguments
            return self.one() if leaf.value == 1.0 else self.leaf(name, leaf.extent)
        op = self.ops[name]
        if op.commutative:
            args = tuple(sorted(args, key=self._identities.__getitem__))
        for rule in self._rules.get(name, ()):
            replacement = rule.apply(self, op, *args)
            if replacement is not None:
                return replacement
        number = self.builder.add(name, *args)
        self._describe(number, name, args)
        return number

    def leaf(self, name: str, extent: Extent) -> int:
        """The number of a leaf; asking for the same name again gives the same leaf.

        Args:
            name: the name, which is not that of an operation.
            extent: the axes that its value varies over.
        """
        if name in INPUTS:
            return INPUTS.index(name)
        number = self._leaves.get(name)
        if number is None:
            number = self._leaves[name] = self.builder.append(Node(name, ()))
            self.extents.append(extent)
            self._identities.append((0, name))
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
            if not args:
                leaf = leaf_named(name)
                assert leaf is not None  # a graph has no other nodes without arguments
                self.leaf(name, leaf.extent)
                continue
            self.builder.append(node)
            self._describe(number, name, args)
            if not training and self.ops[name].index_set is IndexSet.BWH:
                self.extents[number] = Extent.CHANNEL

    def _describe(self, number: int, name: str, args: tuple[int, ...]) -> None:
        if number == len(self.extents):
            self.extents.append(result_extent(self.ops[name], [self.extents[a] for a in args]))
            self._identities.append(self._identity(name, args))

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

    def constant(self, number: int) -> float | None:
        """The number that a node stands for, if it is 0, 1, written as a number, or the negation of one; else None."""
        if number == ZERO or self.is_one(number):
            return float(number != ZERO)
        if self.is_op(number, "neg"):
            value = self.constant(self.argument(number))
            return None if value is None else -value
        leaf = leaf_named(self.builder.nodes[number - FIRST].op) if number >= FIRST else None
        return None if leaf is None else leaf.value

    def number(self, value: float) -> int:
        """The node that stands for a finite number."""
        if value < 0.0:
            return self.add("neg", self.number(-value))
        return ZERO if value == 0.0 else self.add(constant_name(value))

    def one(self) -> int:
        """The node that is the constant 1."""
        return self.add(ONE.op, *ONE.args)

    def _identity(self, name: str, args: tuple[int, ...]) -> tuple[int, str]:
        parts = [self._identities[a] for a in args]
        text = name + "(" + ",".join(digest_ for _, digest_ in parts) + ")"
        return 1 + max(height for height, _ in parts), hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
