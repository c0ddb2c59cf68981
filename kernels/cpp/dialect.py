"""How kernels are written in C++: plane by plane, or for W channels at once."""

from __future__ import annotations

import re
from dataclasses import replace

from evonas.kernels.cpp.build import helpers_text
from evonas.kernels.printing.dialects import Dialect

CPP = Dialect(
    of=lambda op: op.cpp,
    definition="const T {} = {};",
    tile_definition="const auto {} = {};",
    beside_tiles="{}",
    zero="T(0)",
    one="T(1)",
    number="T({})",
    inverse=None,
    reserved=tuple(sorted(set(re.findall(r"\binline \w+ (\w+)\(", helpers_text())))),
)
"""A row is a single number, because planes are processed one by one. Reserved are the functions of `helpers.h`."""

CPP_VECTORS = replace(CPP, definition="const auto {} = {};")
"""A row is a vector of W channels, or a single number if it is the same for all of them."""
