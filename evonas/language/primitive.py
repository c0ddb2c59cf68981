"""What a row of the table of primitives holds; the rows are in `elementwise.py` and `aggregations.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from evonas.language.axes import IndexSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "ATOM",
    "DERIVATIVE_NAMES",
    "POWER",
    "PRODUCT",
    "SUM",
    "UNARY",
    "IndexSet",
    "Moment",
    "Parity",
    "Primitive",
]

# How tightly text holds together; a call or a name binds strongest.
SUM, PRODUCT, UNARY, POWER, ATOM = 1, 2, 3, 4, 5

DERIVATIVE_NAMES = ("g", "y", "a", "b")
"""What the text of a derivative names: the adjoint of the value, the value, and the arguments."""


class Parity(Enum):
    """What a change of the argument's sign does to an operation's value."""

    NONE = 0
    ODD = 1  # f(-a) = -f(a)
    EVEN = 2  # f(-a) = f(a)


class Moment(Enum):
    """What an aggregation computes from the values in its index set."""

    MEAN = "mean"
    RMS = "rms"
    STD = "std"


@dataclass(frozen=True, slots=True, kw_only=True)
class Primitive:
    """One primitive. CONTRIBUTING.md says which fields a new one needs; `table` refuses a row that lacks one.

    A template has one `{0}`, `{1}` or, in LaTeX, `{}` for each argument.

    Attributes:
        name: the name that graphs store; for an aggregation it ends in its index set.
        arity: number of arguments, 1 or 2.
        evaluate: `evaluate(*arguments, eps)` is the value in PyTorch of an element-wise operation; None for an
            aggregation, which needs axes and modes and is evaluated by `evonas.layers.reference`.
        array: the same in NumPy, on float64 arrays, for the probes of the cheap filters.
        source: template of the value as PyTorch source, for exported files; see `evonas/language/elementwise.py`.
        triton: template of the value as Triton source; it may call `triton.language` as `tl` and the helpers of
            `evonas.kernels.triton.helpers`, and name `eps`. Empty where `has_own_sign`.
        cpp: the same as C++ source, which may call what `kernels/cpp/helpers.h` defines.
        noun: the name of the variable that generated source keeps its value in.
        latex: template of the value in LaTeX.
        infix: the sign of an operation that text writes before or between its arguments, else None.
        binds, latex_binds: how tightly the written result holds together, from SUM to ATOM.
        latex_wants: arguments that bind less tightly than this are put in brackets in LaTeX.
        derivative: what the adjoint of each argument gains, as an expression over `OPERATIONS` that may name
            `DERIVATIVE_NAMES`. `evonas.language.differentiate` says what an adjoint is.
        commutative: whether the arguments may change places.
        parity: what a change of its argument's sign does.
        nonnegative: whether its value is at least 0, whatever its arguments.
        vanishes_at_zero: of an element-wise operation of one argument: whether its value at 0 is 0.
        linear: whether its value is linear in all arguments together.
        bilinear: whether its value is linear in each of two arguments.
        at_least_root_eps: whether its value is at least √eps, whatever its arguments, so that dividing by it needs
            no clamp.
        moment, index_set: of an aggregation.
        of_planes: whether it aggregates values that are constant on planes.
    """

    name: str
    arity: int
    evaluate: Callable[..., Tensor] | None = None
    array: Callable[..., NDArray[np.float64]] | None = None
    source: str = ""
    triton: str = ""
    cpp: str = ""
    noun: str
    latex: str = ""
    infix: str | None = None
    binds: int = ATOM
    latex_binds: int = ATOM
    latex_wants: int = 0
    derivative: tuple[str, ...] = ()
    commutative: bool = False
    parity: Parity = Parity.NONE
    nonnegative: bool = False
    vanishes_at_zero: bool = False
    linear: bool = False
    bilinear: bool = False
    at_least_root_eps: bool = False
    moment: Moment | None = None
    index_set: IndexSet | None = None
    of_planes: bool = False

    @property
    def is_aggregation(self) -> bool:
        """Whether the operation reduces over an index set."""
        return self.moment is not None

    @property
    def has_own_sign(self) -> bool:
        """Whether kernels write the operation with its sign, which is that of Triton and C++, not from a template."""
        return self.infix is not None and (self.linear or self.bilinear)
