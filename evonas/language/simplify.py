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

from evonas.language.node import FIRST, Node, leaves_first
from evonas.language.primitive_table import PRIMITIVES, Primitive
from evonas.language.rewrite_rules import RULES_OF
from evonas.language.rewriter import Rewriter


def rewriter(ops: Mapping[str, Primitive] = PRIMITIVES) -> Rewriter:
    """An empty rewriter with the rules of the canonical form, for nodes of the operations `ops`."""
    return Rewriter(ops, RULES_OF)


def simplify(nodes: Sequence[Node], live: Sequence[int]) -> tuple[tuple[Node, ...], int]:
    """The canonical form of a graph: the nodes of an equal function in one fixed order, and its output.

    Args:
        nodes: the nodes.
        live: numbers of the nodes that the output depends on, in order; the last is the output.
    """
    r = rewriter()
    numbers = {number: number for number in range(FIRST)}
    for number in live:
        if number >= FIRST:
            op, args = nodes[number - FIRST]
            numbers[number] = r.add(op, *(numbers[a] for a in args))
    return _renumbered(r.builder.nodes, numbers[live[-1]])


def _renumbered(rewritten: Sequence[Node], output: int) -> tuple[tuple[Node, ...], int]:
    """What `output` depends on, leaves first, and then in the order in which a depth-first walk finishes the nodes."""
    finished: dict[int, None] = {}
    stack = [output]
    while stack:
        number = stack[-1]
        if number < FIRST or number in finished:
            stack.pop()
            continue
        missing = [a for a in reversed(rewritten[number - FIRST].args) if a >= FIRST and a not in finished]
        if missing:
            stack.extend(missing)
            continue
        finished[number] = None
        stack.pop()
    return leaves_first(rewritten, finished, output)


def digest(nodes: Sequence[Node], output: int) -> str:
    """A digest of 16 hexadecimal digits of a graph in canonical form."""
    text = repr((output, [(op, args) for op, args in nodes]))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
