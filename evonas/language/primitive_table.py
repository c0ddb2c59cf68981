"""The table of primitives: everything the project knows about an operation is in its row.

A layer is a graph of these operations (see `evonas.language.graph`). Each row gives the operation's name and
arity, its value in PyTorch, how it is written as text and as LaTeX, and the algebraic facts that the
canonical form relies on. Adding an operation is adding a row; CONTRIBUTING.md has the recipe.

The definitions follow Liu et al., "Evolving Normalization-Activation Layers" (2020), appendix A, made
total: `div`, `log` and `sqrt` are defined on all reals. `eps` is the layer's epsilon, 1e-5 by default.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from evonas.language.aggregations import AGGREGATIONS, MEANS_OVER_PLANES
from evonas.language.derivative_primitives import DERIVATIVE_PRIMITIVES, ROOT
from evonas.language.elementwise import ELEMENTWISE
from evonas.language.leaf import LEAVES
from evonas.language.primitive import (
    ATOM,
    DERIVATIVE_NAMES,
    POWER,
    PRODUCT,
    SUM,
    UNARY,
    IndexSet,
    Moment,
    Parity,
    Primitive,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = [
    "ATOM",
    "OPERATIONS",
    "POWER",
    "PRIMITIVES",
    "PRODUCT",
    "SUM",
    "UNARY",
    "IndexSet",
    "Moment",
    "Parity",
    "Primitive",
]


_LEAF_NAMES = frozenset(leaf.name for leaf in LEAVES)


def table(rows: Iterable[Primitive], *, in_layers: bool, known: Collection[str] = ()) -> Mapping[str, Primitive]:
    """A table of rows by name.

    Args:
        rows: the rows.
        in_layers: whether layers may be made of them, so that they are printed, exported and differentiated.
        known: names of other tables, which the rows may not have.

    Raises:
        ValueError: for a row that lacks a field, or whose name is used already; the message says what to add.
    """
    found: dict[str, Primitive] = {}
    for row in rows:
        if row.name in {*found, *known, *_LEAF_NAMES, *DERIVATIVE_NAMES} or not row.name.isidentifier():
            raise ValueError(f"primitive {row.name!r}: the name is in use or cannot be written; choose another")
        missing = _missing(row, in_layers)
        if missing:
            raise ValueError(f"primitive {row.name!r}: its row lacks {', '.join(missing)}; see CONTRIBUTING.md")
        found[row.name] = row
    return MappingProxyType(found)


def _missing(row: Primitive, in_layers: bool) -> list[str]:
    """The fields that a row should have and does not, each with what it is."""
    by_evaluation, by_kernels = row.moment is None, row.moment is None and not row.has_own_sign
    wanted = [
        ("evaluate (its value in PyTorch)", by_evaluation, row.evaluate),
        ("array (its value in NumPy)", by_evaluation, row.array),
        ("triton (its Triton source)", by_kernels, row.triton),
        ("cpp (its C++ source)", by_kernels, row.cpp),
        ("index_set (the axes that it reduces)", row.moment is not None, row.index_set),
        ("noun (a name for its value)", True, row.noun),
        ("source (its PyTorch source, for exported files)", in_layers, row.source),
        ("latex (its LaTeX)", in_layers, row.latex),
        ("derivative (one expression for each argument)", in_layers, len(row.derivative) == row.arity),
    ]
    return [what for what, is_wanted, given in wanted if is_wanted and not given]


PRIMITIVES: Mapping[str, Primitive] = table((*ELEMENTWISE, *AGGREGATIONS), in_layers=True)
"""The primitives by name: the element-wise operations, then three moments over six index sets."""

OPERATIONS: Mapping[str, Primitive] = MappingProxyType(
    {**PRIMITIVES, **table((*DERIVATIVE_PRIMITIVES, ROOT, *MEANS_OVER_PLANES), in_layers=False, known=PRIMITIVES)}
)
"""The primitives, and the operations that only derivatives and the plans of kernels are written with."""
