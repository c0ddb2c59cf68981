"""How kernels are written in Triton."""

from __future__ import annotations

import re
from pathlib import Path

from evonas.kernels.printing.dialects import Dialect

_HELPERS = (Path(__file__).parent / "helpers.py").read_text(encoding="utf-8")

TRITON = Dialect(
    of=lambda op: op.triton,
    definition="{} = {}",
    tile_definition="{} = {}",
    beside_tiles="{}[:, None]",
    zero="0.0",
    one="1.0",
    number="{}",
    inverse="1.0 / {}",
    reserved=tuple(sorted(re.findall(r"^def (\w+)\(", _HELPERS, re.M))),
)
"""Reserved are the functions of `evonas.kernels.triton.helpers`, read as text so that Triton need not be installed."""
