"""In what the languages differ that kernels are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from evonas.language.primitive import Primitive


@dataclass(frozen=True)
class Dialect:
    """How values are spelt.

    Attributes:
        of: the source of an operation that is written as a call.
        definition, tile_definition: of a variable that is constant on planes or not, by name and value.
        beside_tiles: a row of numbers where it meets tiles.
        zero, one: the constants.
        inverse: of a row, where tiles that are divided by it are multiplied by that instead; None where they are not.
        reserved: what kernels call; no variable may be called so.
    """

    of: Callable[[Primitive], str]
    definition: str
    tile_definition: str
    beside_tiles: str
    zero: str
    one: str
    inverse: str | None
    reserved: tuple[str, ...]


TRITON = Dialect(
    of=lambda op: op.triton,
    definition="{} = {}",
    tile_definition="{} = {}",
    beside_tiles="{}[:, None]",
    zero="0.0",
    one="1.0",
    inverse="1.0 / {}",
    reserved=(
        *("away_from_zero", "folded", "joined", "kept", "log_slope", "maximum", "merged", "moments"),
        *("plane_sum", "root_slope", "share", "sign", "signed_log", "signed_root", "square", "tanh"),
    ),
)
"""The calls are those of `evonas.kernels.triton.helpers`."""

CPP = Dialect(
    of=lambda op: op.cpp,
    definition="const T {} = {};",
    tile_definition="const auto {} = {};",
    beside_tiles="{}",
    zero="T(0)",
    one="T(1)",
    inverse=None,
    reserved=(
        *("away_from_zero", "exponential", "kept", "log_slope", "logarithm", "magnitude", "maximum", "root_slope"),
        *("share", "sigmoid", "sign", "signed_log", "signed_root", "square", "square_root", "tanh"),
        *("all", "collect", "first", "lanes", "load", "narrow", "spread", "store", "wide", "whole"),
    ),
)
"""The calls are those of `kernels/cpp/helpers.h`; a row is a number, for planes are gone over one by one."""

CPP_VECTORS = replace(CPP, definition="const auto {} = {};")
"""A row is that of W channels, or a number where it is the same for all of them."""
