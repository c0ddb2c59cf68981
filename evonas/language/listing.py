"""Nodes as the lines of a small program, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from evonas.language.expression import Written, difference, written
from evonas.language.leaf import leaf_named
from evonas.language.node import FIRST, INPUTS, ONE, ZERO, Node, live_operations
from evonas.language.primitive_table import ATOM

_SHORT = 6
"""A value of at most this many characters is repeated rather than named: it is clearer where it stands."""


def listing(
    nodes: Sequence[Node],
    outputs: Mapping[str, int],
    names: Mapping[int, str] | None = None,
    by_itself: Callable[[int], bool] = lambda number: False,
) -> list[str]:
    """`name = expression` for each output, after a line for each value that is used more than once.

    Args:
        nodes: the operations; `nodes[i]` is node i + 4. One without arguments stands for a value of its name.
        outputs: numbers of nodes by the name to give them.
        names: names of nodes that are given and are not written out.
        by_itself: whether a node gets a line of its own even where it is used once.
    """
    given = {ZERO: "0", **(names or {})}
    live = live_operations(nodes, outputs.values(), given)
    uses = Counter(a for n in live for a in set(nodes[n - FIRST].args))
    uses.update(set(outputs.values()))
    lines, known = [], {n: Written(name, ATOM) for n, name in enumerate(INPUTS)}
    known |= {n: Written(name, ATOM) for n, name in given.items()}
    named = set(known)
    temporaries = 0
    for number in live:
        op, args = nodes[number - FIRST]
        if not args:
            leaf = leaf_named(op)
            known[number] = Written(op if leaf is None else leaf.text, ATOM)
            continue
        if (op, args) == ONE:
            known[number] = Written("1", ATOM)
            continue
        sides = [known[n] for n in difference(nodes, number, named)]
        known[number] = value = written(op, [known[a] for a in args], sides)
        if (uses[number] > 1 and len(value.text) > _SHORT) or by_itself(number):
            temporaries += 1
            lines.append(f"t{temporaries} = {value.text}")
            known[number] = Written(f"t{temporaries}", ATOM)
            named.add(number)
    return [*lines, *(f"{name} = {known[number].text}" for name, number in outputs.items())]
