"""Algebra on nodes of which some factors are constant on every plane."""

from __future__ import annotations

from typing import NamedTuple

from evonas.language.graph import FIRST, ZERO
from evonas.language.rewriter import Rewriter
from evonas.language.varying_axes import Extent


class Affine(NamedTuple):
    """scale · atom + shift, where scale and shift are constant on planes; atom None stands for shift alone."""

    scale: int
    atom: int | None
    shift: int


def is_elementwise(r: Rewriter, number: int) -> bool:
    """Whether a value varies within a plane."""
    return bool(r.extents[number] & Extent.PLANE)


def affine(r: Rewriter, number: int) -> Affine:
    """A node as an affine function, with coefficients constant on planes, of a node that is none itself.

    So the moments of a normalised x follow from those of x. Coefficients are added to `r`.
    """
    if not is_elementwise(r, number):
        return Affine(ZERO, None, number)
    itself = Affine(r.one(), number, ZERO)
    if number < FIRST:
        return itself
    name, args = r.builder.nodes[number - FIRST]
    match name:
        case "neg":
            scale, atom, shift = affine(r, args[0])
            return Affine(r.add("neg", scale), atom, r.add("neg", shift))
        case "add":
            one, other = (affine(r, a) for a in args)
            if None in (one.atom, other.atom) or one.atom == other.atom:
                atom = other.atom if one.atom is None else one.atom
                return Affine(r.add("add", one.scale, other.scale), atom, r.add("add", one.shift, other.shift))
        case "mul" if not all(is_elementwise(r, a) for a in args):
            plane, inner = sorted(args, key=lambda a: is_elementwise(r, a))
            scale, atom, shift = affine(r, inner)
            return Affine(r.add("mul", scale, plane), atom, r.add("mul", shift, plane))
        case "div" if not is_elementwise(r, args[1]):
            scale, atom, shift = affine(r, args[0])
            return Affine(r.add("div", scale, args[1]), atom, r.add("div", shift, args[1]))
    return itself


def factored(r: Rewriter, number: int) -> tuple[int, int]:
    """A node as a product of something constant on planes and of something free of such factors."""
    if not is_elementwise(r, number):
        return number, r.one()
    if number < FIRST:
        return r.one(), number
    name, args = r.builder.nodes[number - FIRST]
    match name:
        case "neg":
            plane, rest = factored(r, args[0])
            return r.add("neg", plane), rest
        case "mul":
            (one, left), (other, right) = (factored(r, a) for a in args)
            return r.add("mul", one, other), r.add("mul", left, right)
        case "div":
            plane, rest = factored(r, args[0])
            if is_elementwise(r, args[1]):
                return plane, r.add("div", rest, args[1])
            return r.add("div", plane, args[1]), rest
        case "square":
            plane, rest = factored(r, args[0])
            return r.add("square", plane), r.add("square", rest)
        case "add":
            (one, left), (other, right) = (factored(r, a) for a in args)
            if left == right:
                return r.add("add", one, other), left
    return r.one(), number
