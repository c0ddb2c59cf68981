"""A primitive that evonas does not have, added as CONTRIBUTING.md says: `pytest -p tests.softsign` runs tests with it.

Loaded as a plugin, it is there before the table of primitives is built, as a row in the file would be.
"""

import sys

import numpy as np

from evonas.language import derivative_primitives, elementwise
from evonas.language.primitive import Parity, Primitive

assert "evonas.language.primitive_table" not in sys.modules, "the table has been built already"

SOFTSIGN = Primitive(
    name="softsign",
    arity=1,
    evaluate=lambda a, eps: a / (1.0 + a.abs()),
    array=lambda a, eps: a / (1.0 + np.abs(a)),
    source="{0} / (1.0 + torch.abs({0}))",
    triton="(({0}) / (1.0 + tl.abs({0})))",
    cpp="(({0}) / (T(1) + magnitude({0})))",
    noun="softened",
    latex=r"\operatorname{{softsign}}\left({}\right)",
    derivative=("g * softsign_slope(a)",),
    parity=Parity.ODD,
    vanishes_at_zero=True,
)
SLOPE = Primitive(
    name="softsign_slope",
    arity=1,
    evaluate=lambda a, eps: 1.0 / (1.0 + a.abs()).square(),
    array=lambda a, eps: 1.0 / np.square(1.0 + np.abs(a)),
    triton="(1.0 / square(1.0 + tl.abs({0})))",
    cpp="(T(1) / square(T(1) + magnitude({0})))",
    noun="slope",
    parity=Parity.EVEN,
    nonnegative=True,
)
elementwise.ELEMENTWISE = (*elementwise.ELEMENTWISE, SOFTSIGN)
derivative_primitives.DERIVATIVE_PRIMITIVES = (*derivative_primitives.DERIVATIVE_PRIMITIVES, SLOPE)
