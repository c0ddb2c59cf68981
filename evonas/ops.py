"""The table of primitives: everything the project knows about an operation stands in its row.

A layer is a graph of these operations (see `evonas.graph`). Each row gives the operation's name and
arity, its value in PyTorch, how it is written as text and as LaTeX, and the algebraic facts that the
canonical form relies on. Readers of graphs look facts up here and know none of their own, so adding an
operation is adding a row; its tests are generated from the row.

The definitions follow Liu et al., "Evolving Normalization-Activation Layers" (2020), appendix A, made
total: `div`, `log` and `sqrt` are defined on all reals. `eps` is the layer's epsilon, 1e-5 by default.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from evonas.arithmetic import away_from_zero, maximum, quotient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


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
class Op:
    """One primitive.

    Attributes:
        name: what graphs store; for an aggregation it ends in its index set.
        arity: number of arguments, 1 or 2.
        evaluate: `evaluate(*arguments, eps)` for an element-wise operation; None for an aggregation,
            which needs to know axes and modes and is evaluated by `evonas.reference`.
        source: its value as PyTorch source, for exported files; the form is told above the rows.
        noun: what generated source calls its value.
        latex: a template with one `{}` for each argument.
        infix: the sign of an operation that text writes before or between its arguments, else None.
        binds, latex_binds: how tightly the written result holds together, from SUM to ATOM.
        latex_wants: arguments that bind less tightly than this are put in brackets in LaTeX.
        commutative: whether the arguments may change places.
        parity: how it answers to a change of its argument's sign.
        positive: whether its value is positive whatever its argument (it may underflow to 0).
        moment, index_set: of an aggregation.
        domain: the interval from which tests of this row draw arguments.
    """

    name: str
    arity: int
    evaluate: Callable[..., Tensor] | None
    source: str
    noun: str
    latex: str
    infix: str | None = None
    binds: int = 5
    latex_binds: int = 5
    latex_wants: int = 0
    commutative: bool = False
    parity: Parity = Parity.NONE
    positive: bool = False
    moment: Moment | None = None
    index_set: IndexSet | None = None
    domain: tuple[float, float] = (-3.0, 3.0)

    @property
    def is_aggregation(self) -> bool:
        """Whether the operation reduces over an index set."""
        return self.moment is not None


# Binding strengths of what is written; a call or a name binds strongest.
SUM, PRODUCT, UNARY, POWER, ATOM = 1, 2, 3, 4, 5

# A `source` is a template. `{0}` and `{1}` stand for names of variables that hold the arguments, `{eps}` and
# `{groups}` for the layer's settings, `{running}` for the buffer of a batch statistic and `{count}` for the
# number of values that it is taken of. It may call torch and what `evonas.kernels.torch_helpers` defines; the
# printer copies the helpers that a layer uses. Tests compare every row's source with its evaluation.
_ELEMENTWISE = (
    Op("add", 2, lambda a, b, eps: a + b, "{0} + {1}", "total", "{} + {}", "+", SUM, SUM, SUM, commutative=True),
    Op(
        "mul",
        2,
        lambda a, b, eps: a * b,
        "{0} * {1}",
        "product",
        r"{} \, {}",
        "*",
        PRODUCT,
        PRODUCT,
        PRODUCT,
        commutative=True,
    ),
    Op(
        "div",
        2,
        lambda a, b, eps: quotient(a, away_from_zero(b, eps)),
        "{0} / away_from_zero({1}, {eps})",
        "ratio",
        r"\frac{{{}}}{{{}}}",
        "/",
        PRODUCT,
        POWER,
    ),
    Op(
        "max",
        2,
        lambda a, b, eps: maximum(a, b),
        "torch.maximum({0}, {1})",
        "larger",
        r"\max\left({}, {}\right)",
        commutative=True,
    ),
    # As in print, a negated factor is bracketed but a negated product is not.
    Op("neg", 1, lambda a, eps: -a, "-{0}", "negated", "-{}", "-", UNARY, SUM, PRODUCT, parity=Parity.ODD),
    Op(
        "sigmoid",
        1,
        lambda a, eps: torch.sigmoid(a),
        "torch.sigmoid({0})",
        "gate",
        r"\sigma\left({}\right)",
        positive=True,
    ),
    Op(
        "tanh",
        1,
        lambda a, eps: torch.tanh(a),
        "torch.tanh({0})",
        "squashed",
        r"\tanh\left({}\right)",
        parity=Parity.ODD,
    ),
    Op("exp", 1, lambda a, eps: torch.exp(a), "torch.exp({0})", "power", r"\exp\left({}\right)", positive=True),
    Op(
        "square",
        1,
        lambda a, eps: a * a,
        "torch.square({0})",
        "squared",
        "{}^2",
        latex_binds=POWER,
        latex_wants=ATOM,
        parity=Parity.EVEN,
    ),
    Op("abs", 1, lambda a, eps: torch.abs(a), "torch.abs({0})", "size", r"\left|{}\right|", parity=Parity.EVEN),
    Op(
        "log",
        1,
        lambda a, eps: torch.sign(a) * torch.log(torch.abs(a) + eps),
        "torch.sign({0}) * torch.log(torch.abs({0}) + {eps})",
        "signed_log",
        r"\operatorname{{slog}}\left({}\right)",
        parity=Parity.ODD,
    ),
    Op(
        "sqrt",
        1,
        lambda a, eps: torch.sign(a) * torch.sqrt(torch.abs(a) + eps),
        "torch.sign({0}) * torch.sqrt(torch.abs({0}) + {eps})",
        "signed_root",
        r"\operatorname{{ssqrt}}\left({}\right)",
        parity=Parity.ODD,
    ),
)

_MOMENT_LATEX = {Moment.MEAN: r"\mu", Moment.RMS: r"\rho", Moment.STD: r"s"}
_INDEX_LATEX = {IndexSet.BWH: "b,w,h", IndexSet.WHC: "w,h,c", IndexSet.WH: "w,h", IndexSet.WHCG: "w,h,c_g"}
_INDEX_NOUN = {
    IndexSet.BWH: "batch",
    IndexSet.WHC: "layer",
    IndexSet.WH: "instance",
    IndexSet.WHCG: "group",
}
_OVER_DIMS = {
    Moment.MEAN: "{{0}}.mean({dims}, keepdim=True)",
    Moment.RMS: "{{0}}.square().mean({dims}, keepdim=True)",
    Moment.STD: "{{0}}.var({dims}, correction=0, keepdim=True)",
}
_RAW_SOURCE = {
    IndexSet.WHC: {moment: text.format(dims="(1, 2, 3)") for moment, text in _OVER_DIMS.items()},
    IndexSet.WH: {moment: text.format(dims="(2, 3)") for moment, text in _OVER_DIMS.items()},
    IndexSet.WHCG: {
        Moment.MEAN: "mean_in_groups({0}, {groups})",
        Moment.RMS: "mean_in_groups({0}.square(), {groups})",
        Moment.STD: "var_in_groups({0}, {groups})",
    },
    IndexSet.BWH: {
        Moment.MEAN: "self._batch_mean({0}, {running})",
        Moment.RMS: "self._batch_square({0}, {running})",
        Moment.STD: "self._batch_var({0}, {running}, {count})",
    },
}


def _aggregation(moment: Moment, index_set: IndexSet) -> Op:
    head = _MOMENT_LATEX[moment] + "_{{" + _INDEX_LATEX[index_set] + "}}"
    raw = _RAW_SOURCE[index_set][moment]
    return Op(
        name=f"{moment.value}_{index_set.value}",
        arity=1,
        evaluate=None,
        source=raw if moment is Moment.MEAN else f"torch.sqrt({raw} + {{eps}})",
        noun=f"{_INDEX_NOUN[index_set]}_{moment.value}",
        latex=head + r"\left({}\right)",
        parity=Parity.ODD if moment is Moment.MEAN else Parity.EVEN,
        positive=moment is not Moment.MEAN,
        moment=moment,
        index_set=index_set,
    )


_AGGREGATIONS = tuple(_aggregation(moment, index_set) for moment in Moment for index_set in IndexSet)

OPS: Mapping[str, Op] = MappingProxyType({op.name: op for op in _ELEMENTWISE + _AGGREGATIONS})
"""The 24 primitives by name: 12 element-wise operations, then 3 moments over 4 index sets."""
