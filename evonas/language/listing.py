"""Nodes as the lines of a small program, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from evonas.language.expression import Written, written
from evonas.language.graph import FIRST, INPUTS, ZERO
from evonas.language.primitive_table import ATOM

if TYPE_CHECKING:
    from evonas.language.graph import Node


def listing(
    nodes: Sequence[Node],
    outputs: Mapping[str, int],
    names: Mapping[int, str] | None = None,
    by_itself: Callable[[int], bool] = lambda number: False,
) -> list[str]:
    """`name = expression` for each output, after a line for each value that is used more than once.

    Args:
        nodes: `nodes[i]` is node i + 4.
        outputs: nodes by name.
        names: of nodes that are given, and not written out.
        by_itself: which nodes get a line of their own even where they are used once.
    """
    given = {ZERO: "0", **(names or {})}
    live = _live(nodes, outputs.values(), given)
    uses = Counter(a for n in live for a in set(nodes[n - FIRST].args))
    uses.update(set(outputs.values()))
    lines, known = [], {n: Written(name, ATOM) for n, name in enumerate(INPUTS)}
    known |= {n: Written(name, ATOM) for n, name in given.items()}
    named = 0
    for number in live:
        op, args = nodes[number - FIRST]
        if not args:
            known[number] = Written(op, ATOM)
            continue
        if (op, args) == ("exp", (ZERO,)):
            known[number] = Written("1", ATOM)
            continue
        known[number] = value = written(op, [known[a] for a in args], _difference(nodes, number, known))
        # What is short is clearer where it stands, as often as it is used.
        if (uses[number] > 1 and len(value.text) > _SHORT) or by_itself(number):
            named += 1
            lines.append(f"t{named} = {value.text}")
            known[number] = Written(f"t{named}", ATOM)
    return [*lines, *(f"{name} = {known[number].text}" for name, number in outputs.items())]


_SHORT = 6


def _difference(nodes: Sequence[Node], number: int, known: Mapping[int, Written]) -> list[Written]:
    """The two sides where a sum is a difference: exactly one of its terms is a negation, not named by itself."""
    op, args = nodes[number - FIRST]
    if op != "add":
        return []
    negated = [a >= FIRST and nodes[a - FIRST].op == "neg" and known[a].binds != ATOM for a in args]
    if negated.count(True) != 1:
        return []
    minus = args[negated.index(True)]
    plus = args[negated.index(False)]
    return [known[plus], known[nodes[minus - FIRST].args[0]]]


def _live(nodes: Sequence[Node], outputs: Iterable[int], given: Mapping[int, str]) -> list[int]:
    live = {n for n in outputs if n not in given}
    for number in range(FIRST + len(nodes) - 1, FIRST - 1, -1):
        if number in live:
            live.update(a for a in nodes[number - FIRST].args if a not in given)
    return sorted(n for n in live if n >= FIRST)
