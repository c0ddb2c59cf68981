"""Expressions: reading a graph from text, and writing it as text and as LaTeX.

The grammar, from the loosest binding to the tightest: sums `a + b - c`, products `a * b / c`, negation `-a`, then calls
`max(a, b)`, the names of leaves such as `x` and `v1`, numbers such as `0.5`, and brackets. `a - b` is `add(a, neg(b))`.
Equal sub-expressions become one node, so no `let` is needed. A graph that is printed and read again has the same
canonical form.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NamedTuple

from evonas.errors import GraphError, shorten
from evonas.language.leaf import LEAVES, NUMBER, constant_name
from evonas.language.node import (
    FIRST,
    INPUTS,
    MAX_NODES,
    ZERO,
    Node,
    NodeBuilder,
    leaf_at,
    without_dead_nodes,
    wrong_arity,
)
from evonas.language.primitive_table import ATOM, OPERATIONS, PRIMITIVES, PRODUCT, SUM, UNARY

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from evonas.language.leaf import Leaf
    from evonas.language.primitive_table import Primitive

MAX_TEXT = 100_000
"""The longest expression that is read or printed, in characters."""
MAX_DEPTH = MAX_NODES  # at two stack frames each
"""The deepest nesting of brackets, calls and signs that is read; every graph can be printed and read back."""

_INFIX = {op.infix: (op.name, op.binds) for op in PRIMITIVES.values() if op.infix and op.arity == 2}
_INFIX["-"] = _INFIX["+"]  # a difference is the sum with a negated term
_SIGNS = re.escape("".join(_INFIX) + "(),")
_TOKEN = re.compile(rf"\s*(?:(?P<name>[A-Za-z_][A-Za-z_0-9]*)|(?P<number>{NUMBER})|(?P<sign>[{_SIGNS}])|(?P<end>\Z))")


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def parse(text: str) -> tuple[tuple[Node, ...], int]:
    """The operations that `text` describes, and the number of its value.

    Raises:
        GraphError: when the text is not an expression; the message names the column.
    """
    if not isinstance(text, str):
        raise GraphError(f"an expression must be text, not {shorten(text)}")
    if len(text) > MAX_TEXT:
        raise GraphError(f"the expression is {len(text):,} characters long; at most {MAX_TEXT:,} are read")
    builder = NodeBuilder(limit=MAX_NODES + len(LEAVES) - FIRST)  # a leaf that is not used is dropped
    names = {leaf.name: builder.add(leaf.name) for leaf in LEAVES}
    output = add_text(text, builder.add, names, PRIMITIVES)
    return without_dead_nodes(builder.nodes, output)


def add_text(text: str, add: Callable[..., int], names: Mapping[str, int], ops: Mapping[str, Primitive]) -> int:
    """The number of the node that `text` describes.

    Args:
        text: an expression.
        add: `add(op, *arguments)` adds a node and returns its number; without arguments, that of a number.
        names: numbers of the nodes that the text may name.
        ops: the operations that it may call.

    Raises:
        GraphError: when the text is not an expression of these names and operations.
    """
    return _Parser(text, add, names, ops).whole()


class _Parser:
    """Precedence climbing over a list of tokens."""

    def __init__(
        self, text: str, add: Callable[..., int], names: Mapping[str, int], ops: Mapping[str, Primitive]
    ) -> None:
        self.tokens = _tokens(text)
        self.position = 0
        self.add, self.names, self.ops = add, names, ops

    def whole(self) -> int:
        output = self.infix(SUM, depth=0)
        if self.next.kind != "end":
            raise _unexpected(self.next, "an operator or the end")
        return output

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def expect(self, sign: str) -> None:
        token = self.take()
        if token.text != sign:
            raise _unexpected(token, repr(sign))

    def infix(self, floor: int, depth: int) -> int:
        """Operands joined by operators that bind at least as tightly as `floor`."""
        left = self.operand(depth)
        while True:
            sign = self.next.text
            op, strength = _INFIX.get(sign, ("", 0))
            if strength < floor:
                return left
            self.take()
            right = self.infix(strength + 1, depth)
            if sign == "-":
                right = self.add("neg", right)
            left = self.add(op, left, right)

    def operand(self, depth: int) -> int:
        token = self.take()
        if depth > MAX_DEPTH:
            raise GraphError(f"column {token.column}: nested more than {MAX_DEPTH} deep")
        if token.text == "-":
            return self.add("neg", self.infix(UNARY, depth + 1))
        if token.text == "(":
            inner = self.infix(SUM, depth + 1)
            self.expect(")")
            return inner
        if token.kind == "number":
            return self.number(token)
        if token.kind != "name":
            raise _unexpected(token, "a name, a number, '-' or '('")
        if token.text in self.names:
            return self.names[token.text]
        if token.text not in self.ops:
            names = ", ".join([*(name for name in self.names if name != INPUTS[ZERO]), *self.ops])
            raise GraphError(f"column {token.column}: unknown name {shorten(token.text)}; known: {names}")
        # This is not a method of its own, because each level of nesting would cost a stack frame more.
        self.expect("(")
        args = [self.infix(SUM, depth + 1)]
        while self.next.text == ",":
            self.take()
            args.append(self.infix(SUM, depth + 1))
        self.expect(")")
        op = self.ops[token.text]
        if len(args) != op.arity:
            raise GraphError(f"column {token.column}: {wrong_arity(op, len(args))}")
        return self.add(token.text, *args)

    def number(self, token: _Token) -> int:
        value = float(token.text)
        if not math.isfinite(value):
            raise GraphError(f"column {token.column}: {shorten(token.text)} is too large for a number of 64 bits")
        return self.add(constant_name(value)) if value else ZERO


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while not tokens or tokens[-1].kind != "end":
        match = _TOKEN.match(text, position)
        if match is None:
            column = len(text[:position]) + len(text[position:]) - len(text[position:].lstrip()) + 1
            raise GraphError(f"column {column}: {shorten(text[column - 1])} is not part of the language")
        kind = match.lastgroup or "end"
        tokens.append(_Token(kind, match.group(kind), match.start(kind) + 1))
        position = match.end()
    return tokens


def _unexpected(token: _Token, wanted: str) -> GraphError:
    found = "the end" if token.kind == "end" else shorten(token.text)
    return GraphError(f"column {token.column}: expected {wanted}, found {found}")


class Written(NamedTuple):
    """Text, and how tightly its outermost operator binds."""

    text: str
    binds: int

    def within(self, strength: int, brackets: tuple[str, str] = ("(", ")")) -> str:
        """The text, in brackets where it binds less tightly than `strength`."""
        return self.text if self.binds >= strength else brackets[0] + self.text + brackets[1]


def to_text(nodes: Sequence[Node], live: Sequence[int]) -> str:
    """A graph as an expression.

    Args:
        nodes: the nodes.
        live: numbers of the nodes that the output depends on, in order; the last is the output.

    Raises:
        GraphError: when shared nodes, written out at each use, make it longer than `MAX_TEXT`.
    """
    return _fold(nodes, live, lambda leaf: leaf.text, written)


def to_latex(nodes: Sequence[Node], live: Sequence[int]) -> str:
    """A graph as LaTeX mathematics, without delimiters; arguments and errors are those of `to_text`."""
    return _fold(nodes, live, lambda leaf: leaf.latex, _latex)


def _fold(
    nodes: Sequence[Node], live: Sequence[int], spell: Callable[[Leaf], str], write: Callable[..., Written]
) -> str:
    texts: dict[int, Written] = {}
    for number in live:
        leaf = leaf_at(nodes, number)
        if leaf is not None:
            text = spell(leaf)
            texts[number] = Written(text, PRODUCT if "cdot" in text else ATOM)
            continue
        op, args = nodes[number - FIRST]
        texts[number] = write(op, [texts[a] for a in args], [texts[s] for s in difference(nodes, number)])
        if len(texts[number].text) > MAX_TEXT:
            raise GraphError(f"written out, the graph is longer than {MAX_TEXT:,} characters; use its JSON")
    return texts[live[-1]].text


def difference(nodes: Sequence[Node], number: int, named: Collection[int] = ()) -> tuple[int, ...]:
    """(a, b) where the operation at `number` is a sum that is written a - b, else nothing.

    That is a sum of which exactly one term is a negation; those in `named` have names of their own and do not count.
    """
    op, args = nodes[number - FIRST]
    if op != "add":
        return ()
    left, right = args
    is_neg = [a >= FIRST and nodes[a - FIRST].op == "neg" and a not in named for a in args]
    if is_neg == [False, True]:
        return left, nodes[right - FIRST].args[0]
    if is_neg == [True, False]:
        return right, nodes[left - FIRST].args[0]
    return ()


def written(name: str, args: list[Written], sides: list[Written]) -> Written:
    """An operation as text, given its arguments; `sides` holds both sides of a `difference`, else nothing."""
    op = OPERATIONS[name]
    if sides:
        return Written(f"{sides[0].within(SUM)} - {sides[1].within(PRODUCT)}", SUM)
    if op.infix and op.arity == 1:
        return Written(op.infix + args[0].within(op.binds), op.binds)
    if op.infix:
        # Operators associate to the left, so an equal strength on the right needs brackets.
        return Written(f"{args[0].within(op.binds)} {op.infix} {args[1].within(op.binds + 1)}", op.binds)
    return Written(f"{name}({', '.join(a.text for a in args)})", ATOM)


def _latex(name: str, args: list[Written], sides: list[Written]) -> Written:
    op = PRIMITIVES[name]
    brackets = (r"\left(", r"\right)")
    if sides:
        right = sides[1].within(PRODUCT, brackets)
        return Written(f"{sides[0].within(SUM, brackets)} - {right}", SUM)
    filled = op.latex.format(*(a.within(op.latex_wants, brackets) for a in args))
    return Written(filled, op.latex_binds)
