"""Operations that only derivatives and the plans of kernels are written with, as rows of the same table.

No layer is made of them, so they have no LaTeX, no source for exported files and no derivative of their own.
"""

from __future__ import annotations

import numpy as np

from evonas.language.primitive import Parity, Primitive

ROOT = Primitive(
    name="root",
    arity=1,
    evaluate=lambda a, eps: (a + eps).sqrt(),
    array=lambda a, eps: np.sqrt(a + eps),
    triton="tl.sqrt_rn({0} + eps)",
    cpp="square_root({0} + eps)",
    noun="root",
    derivative=("0.5 * (g / y)",),
    nonnegative=True,
    at_least_root_eps=True,
)
"""The last step of an rms or a standard deviation, applied to a mean square, which is never negative."""

DERIVATIVE_PRIMITIVES = (
    # The sign of a number, 0 at 0: the derivative of its magnitude.
    Primitive(
        name="sign",
        arity=1,
        evaluate=lambda a, eps: a.sign(),
        array=lambda a, eps: np.sign(a),
        triton="sign({0})",
        cpp="sign({0})",
        noun="direction",
        parity=Parity.ODD,
        vanishes_at_zero=True,
    ),
    # The part of the gradient of max(a, b) that goes to a: all, none, or half at a tie.
    Primitive(
        name="share",
        arity=2,
        evaluate=lambda a, b, eps: (a - b).sign().add(1.0).mul(0.5),
        array=lambda a, b, eps: np.add(a > b, a >= b, dtype=np.float64) * 0.5,
        triton="share({0}, {1})",
        cpp="share({0}, {1})",
        noun="portion",
        nonnegative=True,
    ),
    # 1 where a divisor is outside of the clamp, else 0.
    Primitive(
        name="kept",
        arity=1,
        evaluate=lambda a, eps: (a.abs() >= eps).to(a.dtype),
        array=lambda a, eps: 1.0 * (np.abs(a) >= eps),
        triton="kept({0}, eps)",
        cpp="kept({0}, eps)",
        noun="free",
        parity=Parity.EVEN,
        nonnegative=True,
        vanishes_at_zero=True,
    ),
    # The derivative of the signed logarithm, 0 at 0.
    Primitive(
        name="log_slope",
        arity=1,
        evaluate=lambda a, eps: a.sign().square() / (a.abs() + eps),
        array=lambda a, eps: (a != 0.0) / (np.abs(a) + eps),
        triton="log_slope({0}, eps)",
        cpp="log_slope({0}, eps)",
        noun="slope",
        parity=Parity.EVEN,
        nonnegative=True,
        vanishes_at_zero=True,
    ),
    # The derivative of the signed square root, 0 at 0.
    Primitive(
        name="sqrt_slope",
        arity=1,
        evaluate=lambda a, eps: a.sign().square() / (2 * (a.abs() + eps).sqrt()),
        array=lambda a, eps: (a != 0.0) / (2.0 * np.sqrt(np.abs(a) + eps)),
        triton="root_slope({0}, eps)",
        cpp="root_slope({0}, eps)",
        noun="slope",
        parity=Parity.EVEN,
        nonnegative=True,
        vanishes_at_zero=True,
    ),
)
