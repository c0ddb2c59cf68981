"""The element-wise rows of the table of primitives."""

from __future__ import annotations

import torch

from evonas.arithmetic import away_from_zero, maximum, quotient
from evonas.op import ATOM, POWER, PRODUCT, SUM, UNARY, Op, Parity

# A `source` is a template. `{0}` and `{1}` stand for names of variables that hold the arguments, `{eps}` and
# `{groups}` for the layer's settings, `{running}` for the buffer of a batch statistic and `{count}` for the
# number of values that it is taken of. It may call torch and what `evonas.kernels.torch_helpers` defines; the
# printer copies the helpers that a layer uses. Tests compare every row's source with its evaluation.
ELEMENTWISE = (
    Op(
        "add",
        2,
        lambda a, b, eps: a + b,
        "{0} + {1}",
        "total",
        "{} + {}",
        "+",
        SUM,
        SUM,
        SUM,
        commutative=True,
        derivative=("g", "g"),
    ),
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
        derivative=("g * b", "g * a"),
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
        derivative=("g / b", "-(kept(b) * (y * (g / b)))"),
    ),
    Op(
        "max",
        2,
        lambda a, b, eps: maximum(a, b),
        "torch.maximum({0}, {1})",
        "larger",
        r"\max\left({}, {}\right)",
        commutative=True,
        derivative=("g * share(a, b)", "g * share(b, a)"),
    ),
    # As in print, a negated factor is bracketed but a negated product is not.
    Op(
        "neg",
        1,
        lambda a, eps: -a,
        "-{0}",
        "negated",
        "-{}",
        "-",
        UNARY,
        SUM,
        PRODUCT,
        parity=Parity.ODD,
        derivative=("-g",),
    ),
    Op(
        "sigmoid",
        1,
        lambda a, eps: torch.sigmoid(a),
        "torch.sigmoid({0})",
        "gate",
        r"\sigma\left({}\right)",
        positive=True,
        derivative=("g * (y * (exp(0) - y))",),
    ),
    Op(
        "tanh",
        1,
        lambda a, eps: torch.tanh(a),
        "torch.tanh({0})",
        "squashed",
        r"\tanh\left({}\right)",
        parity=Parity.ODD,
        derivative=("g * (exp(0) - square(y))",),
    ),
    Op(
        "exp",
        1,
        lambda a, eps: torch.exp(a),
        "torch.exp({0})",
        "power",
        r"\exp\left({}\right)",
        positive=True,
        derivative=("g * y",),
    ),
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
        derivative=("g * (a + a)",),
    ),
    Op(
        "abs",
        1,
        lambda a, eps: torch.abs(a),
        "torch.abs({0})",
        "size",
        r"\left|{}\right|",
        parity=Parity.EVEN,
        derivative=("g * sign(a)",),
    ),
    Op(
        "log",
        1,
        lambda a, eps: torch.sign(a) * torch.log(torch.abs(a) + eps),
        "torch.sign({0}) * torch.log(torch.abs({0}) + {eps})",
        "signed_log",
        r"\operatorname{{slog}}\left({}\right)",
        parity=Parity.ODD,
        derivative=("g * log_slope(a)",),
    ),
    Op(
        "sqrt",
        1,
        lambda a, eps: torch.sign(a) * torch.sqrt(torch.abs(a) + eps),
        "torch.sign({0}) * torch.sqrt(torch.abs({0}) + {eps})",
        "signed_root",
        r"\operatorname{{ssqrt}}\left({}\right)",
        parity=Parity.ODD,
        derivative=("g * sqrt_slope(a)",),
    ),
)

ROOT = Op(
    "root",
    1,
    lambda a, eps: torch.sqrt(a + eps),
    "torch.sqrt({0} + {eps})",
    "root",
    r"\sqrt{{{} + \epsilon}}",
    positive=True,
)
"""What an rms or a standard deviation is of its mean square."""

SLOPES = (
    Op(
        "sign",
        1,
        lambda a, eps: torch.sign(a),
        "torch.sign({0})",
        "sign",
        r"\operatorname{{sign}}\left({}\right)",
        parity=Parity.ODD,
    ),
    Op(
        "share",
        2,
        lambda a, b, eps: torch.sign(a - b).add(1.0).mul(0.5),
        "(torch.sign({0} - {1}) + 1) / 2",
        "share",
        r"\left[{} \ge {}\right]",
    ),
    Op(
        "kept",
        1,
        lambda a, eps: (a.abs() >= eps).to(a.dtype),
        "({0}.abs() >= {eps})",
        "kept",
        r"\left[\left|{}\right| \ge \epsilon\right]",
        parity=Parity.EVEN,
    ),
    Op(
        "log_slope",
        1,
        lambda a, eps: torch.sign(a).square() / (a.abs() + eps),
        "torch.sign({0}).square() / ({0}.abs() + {eps})",
        "slope",
        r"\operatorname{{slog}}'\left({}\right)",
        parity=Parity.EVEN,
    ),
    Op(
        "sqrt_slope",
        1,
        lambda a, eps: torch.sign(a).square() / (2 * torch.sqrt(a.abs() + eps)),
        "torch.sign({0}).square() / (2 * torch.sqrt({0}.abs() + {eps}))",
        "slope",
        r"\operatorname{{ssqrt}}'\left({}\right)",
        parity=Parity.EVEN,
    ),
)
"""What derivatives need beyond the primitives: the sign of a number; max(a, b)'s share of gradient for a, which is 1/2
at a tie; whether a divisor is outside of the clamp; and the slopes of the signed logarithm and root, 0 at 0."""
