"""Splits values into a part that varies within planes and coefficients that are constant on every plane."""

from __future__ import annotations

from typing import NamedTuple

from evonas.language.graph import FIRST, ZERO
from evonas.language.primitive_table import OPERATIONS
from evonas.language.rewriter import Rewriter
from evonas.language.varying_axes import Extent


class Affine(NamedTuple):
    """scale · atom + shift, where scale and shift are constant on planes; if atom is None, the value is shift alone."""

    scale: int
    atom: int | None
    shift: int


def varies_within_planes(r: Rewriter, number: int) -> bool:
    """Whether a node's value varies within (h, w) planes."""
    return bool(r.extents[number] & Extent.PLANE)


def affine(r: Rewriter, number: int) -> Affine:
    """A node as an affine function of an atom, with coefficients that are constant on planes.

    The atom cannot be split any further. The moments of a value thus follow from those of its atom: for a normalised x,
    from those of x.

    Args:
        r: holds the node, and receives the nodes of the coefficients.
        number: the node.
    """
    if not varies_within_planes(r, number):
        return Affine(ZERO, None, number)
    itself = Affine(r.one(), number, ZERO)
    if number < FIRST:
        return itself
    name, args = r.builder.nodes[number - FIRST]
    op = OPERATIONS.get(name)  # None for a leaf
    if op is not None and op.linear:
        parts = [affine(r, a) for a in args]
        atoms = {part.atom for part in parts} - {None}
        if len(atoms) == 1:
            scale, shift = r.add(name, *(p.scale for p in parts)), r.add(name, *(p.shift for p in parts))
            return Affine(scale, atoms.pop(), shift)
    elif op is not None and op.bilinear and not all(varies_within_planes(r, a) for a in args):
        plane, inner = sorted(args, key=lambda a: varies_within_planes(r, a))
        scale, atom, shift = affine(r, inner)
        return Affine(r.add(name, scale, plane), atom, r.add(name, shift, plane))
    elif name == "div" and not varies_within_planes(r, args[1]):
        scale, atom, shift = affine(r, args[0])
        return Affine(r.add("div", scale, args[1]), atom, r.add("div", shift, args[1]))
    return itself


def factored(r: Rewriter, number: int, swept: Extent = Extent.PLANE) -> tuple[int, int]:
    """A node as the product of a node that is constant in a sweep and one that has no such factor.

    Args:
        r: holds the node, and receives the nodes of the factors.
        number: the node.
        swept: the axes that the sweep goes over.
    """
    if not r.extents[number] & swept:
        return number, r.one()
    if number < FIRST:
        return r.one(), number
    name, args = r.builder.nodes[number - FIRST]
    op = OPERATIONS.get(name)  # None for a leaf
    if op is not None and op.linear and not op.is_aggregation:
        parts = [factored(r, a, swept) for a in args]
        rests = {rest for _, rest in parts}
        if len(rests) == 1:
            return r.add(name, *(factor for factor, _ in parts)), rests.pop()
    elif op is not None and op.bilinear:
        (one, left), (other, right) = (factored(r, a, swept) for a in args)
        return r.add(name, one, other), r.add(name, left, right)
    elif name == "div":
        factor, rest = factored(r, args[0], swept)
        if r.extents[args[1]] & swept:
            return factor, r.add("div", rest, args[1])
        return r.add("div", factor, args[1]), rest
    elif name == "square":
        factor, rest = factored(r, args[0], swept)
        return r.add("square", factor), r.add("square", rest)
    return r.one(), number
