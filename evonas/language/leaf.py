"""The table of leaves: what a graph is made of that is not computed.

A leaf has a name, an extent and, where it is trained, a value to start at; adding one is adding a row. The first four
are the inputs, which have the numbers 0 to 3 in every graph. Any other leaf, and every number that is written as such,
is a node without arguments: the graph of `0.5 * x` holds the node `0.5`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache

from evonas.language.axes import Extent

NUMBER = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
"""The pattern of a number in an expression or in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One leaf.

    Attributes:
        name: the name in graphs, in JSON and in code; of a number its shortest spelling, such as "0.5".
        text: how expressions write it.
        latex: how LaTeX writes it.
        label: how pictures write it.
        extent: the axes that its value varies over.
        start: the value at which its training starts; None if it is not trained.
        value: the value of a constant; None for others.
    """

    name: str
    text: str
    latex: str
    label: str
    extent: Extent
    start: float | None = None
    value: float | None = None

    @property
    def is_parameter(self) -> bool:
        """Whether it is trained."""
        return self.start is not None


def _parameter(letter: str, digit: str, extent: Extent, start: float) -> Leaf:
    name = letter + digit
    label = letter + {"0": "₀", "1": "₁"}[digit]
    return Leaf(name=name, text=name, latex=f"{letter}_{digit}", label=label, extent=extent, start=start)


LEAVES: tuple[Leaf, ...] = (
    Leaf(name="x", text="x", latex="x", label="x", extent=Extent.FULL),
    Leaf(name="zero", text="0", latex="0", label="0", extent=Extent.NONE, value=0.0),
    _parameter("v", "0", Extent.CHANNEL, 0.0),
    _parameter("v", "1", Extent.CHANNEL, 1.0),
    _parameter("s", "0", Extent.NONE, 0.0),
    _parameter("s", "1", Extent.NONE, 1.0),
)
"""Every leaf but the numbers. The vectors `v0` and `v1` have one value for each channel, `s0` and `s1` are scalars."""

INPUTS = tuple(leaf.name for leaf in LEAVES[:4])
"""Names of nodes 0 to 3 of a graph, the inputs."""
PARAMETERS = tuple(leaf for leaf in LEAVES if leaf.is_parameter)
"""The leaves that are trained, in the order in which layers pass them on."""

_BY_NAME = {leaf.name: leaf for leaf in LEAVES}


@lru_cache(maxsize=4096)
def leaf_named(name: str) -> Leaf | None:
    """The leaf that a node without arguments stands for: one of the table, or a positive constant.

    None for other names, and for a number in another spelling than that of `constant_name`.
    """
    if name in _BY_NAME or not re.fullmatch(NUMBER, name):
        return _BY_NAME.get(name)
    value = float(name)
    if not 0.0 < value < math.inf or constant_name(value) != name:
        return None
    return Leaf(
        name=name,
        text=_shortest(value),
        latex=_in_latex(value),
        label=_shortest(value),
        extent=Extent.NONE,
        value=value,
    )


def constant_name(value: float) -> str:
    """The name of a positive constant, which keeps its bits."""
    return repr(float(value))


def _shortest(value: float) -> str:
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _in_latex(value: float) -> str:
    digits, e, power = _shortest(value).partition("e")
    return digits if not e else f"10^{{{int(power)}}}" if digits == "1" else rf"{digits} \cdot 10^{{{int(power)}}}"
