"""The differences between the languages in which kernels are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evonas.language.primitive import Primitive


@dataclass(frozen=True)
class Dialect:
    """How a language writes values.

    Attributes:
        of: gives the source of an operation that is written as a call.
        definition: defines a variable that is constant on planes, from its name and value.
        tile_definition: defines a variable that varies within planes, from its name and value.
        beside_tiles: how a row of numbers is written in an expression with tiles.
        zero, one: how the constants are written.
        number: how any other number is written, in which its shortest spelling takes the place of {}.
        inverse: how the inverse of a row is written, if tiles are multiplied by it instead of divided by the row; None
            if they are divided.
        reserved: names of the helpers that kernels call, which no variable may have.
    """

    of: Callable[[Primitive], str]
    definition: str
    tile_definition: str
    beside_tiles: str
    zero: str
    one: str
    number: str
    inverse: str | None
    reserved: tuple[str, ...]
