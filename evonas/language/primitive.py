"""What a row of the table of primitives says; the rows are in `elementwise.py` and `aggregations.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

# Binding strengths of what is written; a call or a name binds strongest.
SUM, PRODUCT, UNARY, POWER, ATOM = 1, 2, 3, 4, 5


class IndexSet(Enum):
    """The axes that an aggregation reduces; b, w, h, c are batch, width, height and channel.

    Values are the suffix of an aggregation's name. `WHCG` reduces the channels of one group.
    """

    BWH = "bwh"
    WHC = "whc"
    WH = "wh"
    WHCG = "whcg"


class Parity(Enum):
    """How an operation answers to a change of its argument's sign."""

    NONE = 0
    ODD = 1  # f(-a) = -f(a)
    EVEN = 2  # f(-a) = f(a)


class Moment(Enum):
    """What an aggregation takes of the values in its index set."""

    MEAN = "mean"
    RMS = "rms"
    STD = "std"


@dataclass(frozen=True, slots=True)
class Primitive:
    """One primitive.

    Attributes:
        name: what graphs store; for an aggregation it ends in its index set.
        arity: number of arguments, 1 or 2.
        evaluate: `evaluate(*arguments, eps)` for an element-wise operation; None for an aggregation,
            which needs to know axes and modes and is evaluated by `evonas.layers.reference`.
        source: its value as PyTorch source, for exported files; the form is told above the rows.
        noun: what generated source calls its value.
        latex: a template with one `{}` for each argument.
        infix: the sign of an operation that text writes before or between its arguments, else None.
        binds, latex_binds: how tightly the written result holds together, from SUM to ATOM.
        latex_wants: arguments that bind less tightly than this are put in brackets in LaTeX.
        derivative: what the adjoint of each argument gains, as text over `DERIVED`: `g` is the adjoint of the
            value `y`, `a` and `b` are the arguments. `evonas.language.differentiate` says what an adjoint is.
        triton: its value as Triton source where it is not written with its sign; it may call `triton.language` as
            `tl`, the helpers of `evonas.kernels.triton.helpers`, and name `eps`.
        cpp: the same as C++ source, which may call what `kernels/cpp/helpers.h` defines.
        array: its value in NumPy, `array(*arguments, eps)` like `evaluate`, for the probes of the cheap filters.
        commutative: whether the arguments may change places.
        parity: how it answers to a change of its argument's sign.
        positive: whether its value is positive whatever its argument (it may underflow to 0).
        moment, index_set: of an aggregation.
        of_planes: whether it aggregates what is constant on planes.
        domain: the interval from which tests of this row draw arguments.
    """

    name: str
    arity: int
    evaluate: Callable[..., Tensor] | None
    source: str
    noun: str
    latex: str
    infix: str | None = None
    binds: int = ATOM
    latex_binds: int = ATOM
    latex_wants: int = 0
    derivative: tuple[str, ...] = ()
    triton: str = ""
    cpp: str = ""
    array: Callable[..., NDArray[np.float64]] | None = None
    commutative: bool = False
    parity: Parity = Parity.NONE
    positive: bool = False
    moment: Moment | None = None
    index_set: IndexSet | None = None
    of_planes: bool = False
    domain: tuple[float, float] = (-3.0, 3.0)

    @property
    def is_aggregation(self) -> bool:
        """Whether the operation reduces over an index set."""
        return self.moment is not None
