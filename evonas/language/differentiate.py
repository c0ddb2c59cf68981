"""The backward pass of a graph, as a graph.

The *adjoint* of a node is a density over the positions of x: when the node's value changes, broadcast to the
shape of x, the loss changes by the sum of adjoint times change over all positions (b, c, h, w). So the
adjoint of a narrow value, a statistic or a parameter, may itself vary within a plane; only its sum over the
positions that share the value matters. Two things follow. The element-wise rows of the table act on adjoints
position by position, and the adjoint of a mean's argument is the mean, over the same cells, of the mean's
own adjoint: no counts, no sums, and no reduction before one is needed.

What each operation does is told by its row, `Op.derivative`, and everything is simplified by the rules of
the canonical form as it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from evonas.language.expression import add_text
from evonas.language.graph import FIRST, INPUTS, V0, V1, ZERO, Graph, Node, X
from evonas.language.listing import listing
from evonas.language.primitive_table import OPERATIONS, IndexSet
from evonas.language.simplify import Rewriter
from evonas.language.varying_axes import Extent

DY, WEIGHT = "dy", "weight"
"""Leaves of a backward pass: the gradient of the layer's output, (b, c, h, w), and gamma, (c,)."""


@dataclass(frozen=True)
class Backward:
    """The gradients of `weight · graph + bias`, by the nodes that compute them.

    Attributes:
        nodes: `nodes[i]` is node i + 4; the graph's own come first, under their own numbers.
        dx: the node that is the gradient of x.
        densities: for `v0`, `v1`, `weight` and `bias`, where the layer has them: the node whose sum over
            b, h and w, broadcast to the shape of x, is the gradient.
    """

    nodes: tuple[Node, ...]
    dx: int
    densities: Mapping[str, int]

    def __str__(self) -> str:
        """A program: one line for each value that is used more than once, then the gradients."""
        sums = {f"sums to d_{name}": node for name, node in self.densities.items()}
        return "\n".join(listing(self.nodes, {"d_x": self.dx, **sums}))


def backward(graph: Graph, training: bool = True) -> Backward:
    """The backward pass of `graph` and its affine.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch depend on x; in evaluation they are given.
    """
    r = Rewriter(OPERATIONS)
    r.take(graph, training)
    dy, weight = r.leaf(DY, Extent.FULL), r.leaf(WEIGHT, Extent.CHANNEL)
    adjoints = pull(r, graph.output, r.add("mul", weight, dy), lambda number: training or not over_batch(r, number))
    densities = {INPUTS[v]: adjoints.get(v, ZERO) for v in (V0, V1) if v in graph.live}
    densities |= {"weight": r.add("mul", dy, graph.output), "bias": dy}
    return Backward(tuple(r.builder.nodes), adjoints.get(X, ZERO), densities)


def pull(r: Rewriter, root: int, seed: int, passes: Callable[[int], bool]) -> dict[int, int]:
    """The adjoints of what `root` depends on, given its own, as nodes that are added to `r`.

    Args:
        r: holds the forward nodes, and takes those of the adjoints.
        root: where to begin.
        seed: its adjoint.
        passes: whether to go on from a node to its arguments; where not, the node is like an input.
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


def over_batch(r: Rewriter, number: int) -> bool:
    """Whether a node is a statistic over the batch."""
    op = r.op(number)
    return op is not None and op.index_set is IndexSet.BWH


def _varying(r: Rewriter, root: int, passes: Callable[[int], bool]) -> set[int]:
    """The nodes up to `root` whose value depends on x, v0, v1 or a node that is like an input."""
    varies = {X, V0, V1}
    for number in range(FIRST, root + 1):
        _, args = r.builder.nodes[number - FIRST]
        if varies.intersection(args) or (r.op(number) is not None and not passes(number)):
            varies.add(number)
    return varies
