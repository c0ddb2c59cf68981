"""The table of primitives: everything the project knows about an operation stands in its row.

A layer is a graph of these operations (see `evonas.language.graph`). Each row gives the operation's name and
arity, its value in PyTorch, how it is written as text and as LaTeX, and the algebraic facts that the
canonical form relies on. Readers of graphs look facts up here and know none of their own, so adding an
operation is adding a row; its tests are generated from the row.

The definitions follow Liu et al., "Evolving Normalization-Activation Layers" (2020), appendix A, made
total: `div`, `log` and `sqrt` are defined on all reals. `eps` is the layer's epsilon, 1e-5 by default.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from evonas.language.aggregations import AGGREGATIONS, OF_PLANES
from evonas.language.derivative_primitives import ROOT, SLOPES
from evonas.language.elementwise import ELEMENTWISE
from evonas.language.primitive import ATOM, POWER, PRODUCT, SUM, UNARY, IndexSet, Moment, Parity, Primitive

if TYPE_CHECKING:
    from collections.abc import Mapping

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

PRIMITIVES: Mapping[str, Primitive] = MappingProxyType({op.name: op for op in ELEMENTWISE + AGGREGATIONS})
"""The 24 primitives by name: 12 element-wise operations, then 3 moments over 4 index sets."""

OPERATIONS: Mapping[str, Primitive] = MappingProxyType(
    {**PRIMITIVES, **{op.name: op for op in (*SLOPES, ROOT, *OF_PLANES)}}
)
"""The same, and what derivatives and plans are written with besides; layers are not."""
