"""What derivatives and statistics need beyond the primitives, as rows of the same table."""

from __future__ import annotations

import numpy as np

from evonas.language.primitive import Parity, Primitive

ROOT = Primitive(
    "root",
    1,
    lambda a, eps: (a + eps).sqrt(),
    "torch.sqrt({0} + {eps})",
    "root",
    r"\sqrt{{{} + \epsilon}}",
    positive=True,
    triton="tl.sqrt_rn({0} + eps)",
    cpp="square_root({0} + eps)",
    array=lambda a, eps: np.sqrt(a + eps),
)
"""What an rms or a standard deviation is of its mean square."""

SLOPES = (
    Primitive(
        "sign",
        1,
        lambda a, eps: a.sign(),
        "torch.sign({0})",
        "direction",
        r"\operatorname{{sign}}\left({}\right)",
        parity=Parity.ODD,
        triton="sign({0})",
        cpp="sign({0})",
        array=lambda a, eps: np.sign(a),
    ),
    Primitive(
        "share",
        2,
        lambda a, b, eps: (a - b).sign().add(1.0).mul(0.5),
        "(torch.sign({0} - {1}) + 1) / 2",
        "portion",
        r"\left[{} \ge {}\right]",
        triton="share({0}, {1})",
        cpp="share({0}, {1})",
        array=lambda a, b, eps: np.add(a > b, a >= b, dtype=np.float64) * 0.5,
    ),
    Primitive(
        "kept",
        1,
        lambda a, eps: (a.abs() >= eps).to(a.dtype),
        "({0}.abs() >= {eps})",
        "free",
        r"\left[\left|{}\right| \ge \epsilon\right]",
        parity=Parity.EVEN,
        triton="kept({0}, eps)",
        cpp="kept({0}, eps)",
        array=lambda a, eps: 1.0 * (np.abs(a) >= eps),
    ),
    Primitive(
        "log_slope",
        1,
        lambda a, eps: a.sign().square() / (a.abs() + eps),
        "torch.sign({0}).square() / ({0}.abs() + {eps})",
        "slope",
        r"\operatorname{{slog}}'\left({}\right)",
        parity=Parity.EVEN,
        triton="log_slope({0}, eps)",
        cpp="log_slope({0}, eps)",
        array=lambda a, eps: (a != 0.0) / (np.abs(a) + eps),
    ),
    Primitive(
        "sqrt_slope",
        1,
        lambda a, eps: a.sign().square() / (2 * (a.abs() + eps).sqrt()),
        "torch.sign({0}).square() / (2 * torch.sqrt({0}.abs() + {eps}))",
        "slope",
        r"\operatorname{{ssqrt}}'\left({}\right)",
        parity=Parity.EVEN,
        triton="root_slope({0}, eps)",
        cpp="root_slope({0}, eps)",
        array=lambda a, eps: (a != 0.0) / (2.0 * np.sqrt(np.abs(a) + eps)),
    ),
)
"""What derivatives need beyond the primitives: the sign of a number; max(a, b)'s share of gradient for a, which is 1/2
at a tie; whether a divisor is outside of the clamp; and the slopes of the signed logarithm and root, 0 at 0."""
