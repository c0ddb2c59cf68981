"""The identities that the canonical form applies, by name.

Every rule keeps the function in training and its gradients, to rounding and where values are finite; tests apply each
to random arguments and compare. An identity that holds almost everywhere, but not at a clamp or a tie, is left out.
"""

from __future__ import annotations

import math

import numpy as np

from evonas.language.axes import REMOVES, Extent
from evonas.language.node import ZERO, is_at_least_root_eps, leaf_at
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Moment, Parity, Primitive
from evonas.language.rewriter import Rewriter, Rule
from evonas.language.varying_axes import is_constant_over


def _where(condition: bool, replacement: int) -> int | None:
    return replacement if condition else None


def _cancelled(r: Rewriter, op: Primitive, a: int, b: int) -> int | None:
    opposite = (r.is_op(a, "neg") and r.argument(a) == b) or (r.is_op(b, "neg") and r.argument(b) == a)
    return _where(opposite, ZERO)


def _negated_factors(r: Rewriter, op: Primitive, a: int, b: int) -> int | None:
    """Moves the signs of both factors out; two of them cancel."""
    signs = [r.is_op(a, "neg"), r.is_op(b, "neg")]
    if not any(signs):
        return None
    bare = [r.argument(n) if sign else n for n, sign in zip((a, b), signs, strict=True)]
    product = r.add("mul", *bare)
    return product if all(signs) else r.add("neg", product)


def _odd(r: Rewriter, op: Primitive, a: int) -> int | None:
    if op.name != "neg" and r.is_op(a, "neg"):
        return r.add("neg", r.add(op.name, r.argument(a)))
    return None


def _even(r: Rewriter, op: Primitive, a: int) -> int | None:
    if r.is_op(a, "neg") or r.is_op(a, "abs"):
        # std is even under a change of sign, but |a| has another spread than a.
        if op.moment is Moment.STD and r.is_op(a, "abs"):
            return None
        return r.add(op.name, r.argument(a))
    return None


def _abs_of_nonnegative(r: Rewriter, op: Primitive, a: int) -> int | None:
    inner = r.op(a)
    return _where(inner is not None and inner.nonnegative, a)


def _mean_of_constant(r: Rewriter, op: Primitive, a: int) -> int | None:
    return _where(is_constant_over(r.extents[a], _index_set(op)), a)


def _rms_of_constant(r: Rewriter, op: Primitive, a: int) -> int | None:
    """rms_I(k) = sqrt(k² + eps) for every I that k is constant over, and wh or cg is a part of every I."""
    if not is_constant_over(r.extents[a], _index_set(op)):
        return None
    smallest = "rms_wh" if is_constant_over(r.extents[a], IndexSet.WH) else "rms_cg"
    return r.add(smallest, a) if op.name != smallest else None


def _std_of_constant(r: Rewriter, op: Primitive, a: int) -> int | None:
    """std_I(k) = sqrt(eps), whatever k and I."""
    if is_constant_over(r.extents[a], _index_set(op)) and (op.name, a) != ("std_wh", ZERO):
        return r.add("std_wh", ZERO)
    return None


def _std_of_shifted(r: Rewriter, op: Primitive, a: int) -> int | None:
    """std_I(a + k) = std_I(a) for k constant over I."""
    if r.is_op(a, "add"):
        for place in (0, 1):
            if is_constant_over(r.extents[r.argument(a, place)], _index_set(op)):
                return r.add(op.name, r.argument(a, 1 - place))
    return None


def _mean_of_mean(r: Rewriter, op: Primitive, a: int) -> int | None:
    """mean_I(mean_J(a)) = mean_I(a) for J within I; all cells of J hold equally many values."""
    inner = r.op(a)
    if inner is not None and inner.moment is Moment.MEAN and _index_set(inner) in _WITHIN[_index_set(op)]:
        return r.add(op.name, r.argument(a))
    return None


def _kept_of_large(r: Rewriter, op: Primitive, a: int) -> int | None:
    return r.one() if is_at_least_root_eps(r.builder.nodes, a) else None


def _folded(r: Rewriter, op: Primitive, *args: int) -> int | None:
    """The number that an operation on numbers comes to, where one of them is written as such and eps does not matter.

    Numbers that are made of 0 and 1 alone stay as they are: published layers are written so.
    """
    if not any(_is_written_number(r, a) for a in args):
        return None
    values = [r.constant(a) for a in args]
    assert op.array is not None  # of an element-wise operation
    if None in values:
        return None
    with np.errstate(all="ignore"):
        found = [float(op.array(*(np.float64(v) for v in values), eps=eps)) for eps in (1e-12, 1.0 - 1e-12)]
    return r.number(found[0]) if found[0] == found[1] and math.isfinite(found[0]) else None


def _is_written_number(r: Rewriter, a: int) -> bool:
    if r.is_op(a, "neg"):
        a = r.argument(a)
    leaf = leaf_at(r.builder.nodes, a)
    return a != ZERO and leaf is not None and leaf.value is not None


def _index_set(op: Primitive) -> IndexSet:
    assert op.index_set is not None  # these rules are filed under aggregations only
    return op.index_set


_WITHIN = {
    outer: tuple(inner for inner in IndexSet if REMOVES[inner] & ~REMOVES[outer] == Extent.NONE) for outer in IndexSet
}
"""The index sets whose cells divide those of each."""
_FOLDABLE = tuple(op.name for op in PRIMITIVES.values() if not op.is_aggregation and op.name != "neg")
_ODD = tuple(op.name for op in PRIMITIVES.values() if op.parity is Parity.ODD)
_EVEN = tuple(op.name for op in PRIMITIVES.values() if op.parity is Parity.EVEN)
_VANISHING = tuple(op.name for op in PRIMITIVES.values() if op.vanishes_at_zero)
_OF = {moment: tuple(op.name for op in PRIMITIVES.values() if op.moment is moment) for moment in Moment}

RULES: tuple[Rule, ...] = (
    # Numbers.
    Rule("f(numbers) = a number", _FOLDABLE, _folded),
    # Sums.
    Rule("a + 0 = a", ("add",), lambda r, op, a, b: b if a == ZERO else _where(b == ZERO, a)),
    Rule("a - a = 0", ("add",), _cancelled),
    # Products and quotients.
    Rule("a · 0 = 0", ("mul",), lambda r, op, a, b: _where(ZERO in (a, b), ZERO)),
    Rule("a · 1 = a", ("mul",), lambda r, op, a, b: b if r.is_one(a) else _where(r.is_one(b), a)),
    Rule("a · a = a²", ("mul",), lambda r, op, a, b: r.add("square", a) if a == b else None),
    Rule("-a · b = -(a · b)", ("mul",), _negated_factors),
    Rule("0 / a = 0", ("div",), lambda r, op, a, b: _where(a == ZERO, ZERO)),
    Rule("a / 1 = a", ("div",), lambda r, op, a, b: _where(r.is_one(b), a)),
    Rule(
        "-a / b = -(a / b)",
        ("div",),
        lambda r, op, a, b: r.add("neg", r.add("div", r.argument(a), b)) if r.is_op(a, "neg") else None,
    ),
    Rule("max(a, a) = a", ("max",), lambda r, op, a, b: _where(a == b, a)),
    Rule("1² = 1", ("square",), lambda r, op, a: _where(r.is_one(a), a)),
    # Signs.
    Rule("--a = a", ("neg",), lambda r, op, a: r.argument(a) if r.is_op(a, "neg") else None),
    Rule("f(0) = 0", _VANISHING, lambda r, op, a: _where(a == ZERO, ZERO)),
    Rule("f(-a) = -f(a)", _ODD, _odd),
    Rule("f(-a) = f(|a|) = f(a)", _EVEN, _even),
    Rule("|a| = a for a ≥ 0", ("abs",), _abs_of_nonnegative),
    # Statistics of values that are constant over their index set.
    Rule("mean(k) = k", _OF[Moment.MEAN], _mean_of_constant),
    Rule("rms_I(k) = rms_wh(k)", _OF[Moment.RMS], _rms_of_constant),
    Rule("std_I(k) = std_wh(0)", _OF[Moment.STD], _std_of_constant),
    Rule("std(a + k) = std(a)", _OF[Moment.STD], _std_of_shifted),
    # Terms of derivatives.
    Rule("kept(a) = 1 for a ≥ √eps", ("kept",), _kept_of_large),
    Rule("mean_I(mean_J(a)) = mean_I(a)", _OF[Moment.MEAN], _mean_of_mean),
)
"""Every identity that the canonical form applies. Each leaves fewer nodes, or nodes that sort earlier, so rewriting
terminates."""

RULES_OF = {name: tuple(rule for rule in RULES if name in rule.ops) for name in OPERATIONS}
"""The rules of each operation, by its name."""
