"""Reverse-mode differentiation of a graph, as a graph.

The *adjoint* of a node is a density over the positions of x: when the node's value changes, broadcast to the
shape of x, the loss changes by the sum of adjoint times change over all positions (b, c, h, w). So the
adjoint of a narrow value, a statistic or a parameter, may itself vary within a plane; only its sum over the
positions that share the value matters. Two things follow. The element-wise rows of the table act on adjoints
position by position, and the adjoint of a mean's argument is the mean, over the same cells, of the mean's
own adjoint: no counts, no sums, and no reduction before one is needed.

The derivative of each operation is in its row, `Primitive.derivative`, and everything is simplified by the rules of
the canonical form as it is built.
"""

from __future__ import annotations

from collections.abc import Callable

from evonas.language.expression import add_text
from evonas.language.leaf import PARAMETERS
from evonas.language.node import FIRST, INPUTS, ZERO, X
from evonas.language.rewriter import Rewriter

DY, WEIGHT = "dy", "weight"
"""Leaves of a backward pass: the gradient of the layer's output, (b, c, h, w), and gamma, (c,)."""


def pull(r: Rewriter, root: int, seed: int, passes: Callable[[int], bool]) -> dict[int, int]:
    """The adjoints of the nodes that `root` depends on, given its own, as nodes that are added to `r`.

    Args:
        r: holds the forward nodes, and takes those of the adjoints.
        root: the number of the node to begin with.
        seed: the number of its adjoint.
        passes: whether to go on from a node to its arguments; where not, the node is like an input.

    Returns:
        The number of the adjoint of each node that has one, by the number of the node.
    """
    adjoints = {root: seed}
    varies = _varying(r, root, passes)
    for number in range(root, FIRST - 1, -1):
        name, args = r.builder.nodes[number - FIRST]
        seen = adjoints.get(number, ZERO)
        if seen == ZERO or number not in varies or not args or not passes(number):
            continue
        names = {"g": seen, "y": number, "a": args[0], "b": args[-1]}
        for argument, text in zip(args, r.ops[name].derivative, strict=True):
            if argument in varies:
                gained = add_text(text, r.add, names, r.ops)
                adjoints[argument] = r.add("add", adjoints.get(argument, ZERO), gained)
    return adjoints


def _varying(r: Rewriter, root: int, passes: Callable[[int], bool]) -> set[int]:
    """The nodes up to `root` whose value depends on x, a parameter or a node that is like an input."""
    trained = {leaf.name for leaf in PARAMETERS}
    varies = {X, *(number for number, name in enumerate(INPUTS) if name in trained)}
    for number in range(FIRST, root + 1):
        name, args = r.builder.nodes[number - FIRST]
        if varies.intersection(args) or name in trained or (r.op(number) is not None and not passes(number)):
            varies.add(number)
    return varies
