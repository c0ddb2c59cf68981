"""How a kernel is divided among programs: its grid, and the sizes of its tiles.

Exported files have the text of these, so they use nothing but Python.
"""

from __future__ import annotations

from typing import NamedTuple

Grid = tuple[tuple[int, ...], dict[str, int]]
"""How many programs a kernel has, and its constants."""


class Shape(NamedTuple):
    """What launches depend on, beside the layer.

    Attributes:
        b, c, positions: of the input; positions are h · w.
        groups: divides c.
        channels_last: its memory format.
    """

    b: int
    c: int
    positions: int
    groups: int
    channels_last: bool

    def numbers(self) -> dict[str, int | float]:
        """What kernels are told of it, by argument."""
        count = self.b * self.positions
        return {
            "B": self.b,
            "C": self.c,
            "HW": self.positions,
            "G": self.groups,
            "planes": self.b * self.c,
            "stride_b": self.c * self.positions,
            "stride_c": 1 if self.channels_last else self.positions,
            "stride_p": self.c if self.channels_last else 1,
            "unbias": count / (count - 1) if count > 1 else 1.0,
        }


def over_planes(shape: Shape, size: int) -> Grid:
    """Of a kernel whose programs own some channels of a sample, with tiles of at most `size` values."""
    channels, positions = power_of_2(shape.c), power_of_2(shape.positions)
    if shape.channels_last:  # neighbouring channels lie side by side
        rows = min(channels, 64)
        block = min(positions, size // rows)
    else:
        block = min(positions, 1024)
        rows = min(channels, max(1, size // block))
    return (shape.b * tiles(shape.c, rows),), {"R": rows, "BLOCK": block}


def over_groups(shape: Shape) -> Grid:
    """Of a kernel whose programs join the planes of a group."""
    return (shape.b * shape.groups,), {"R": min(power_of_2(shape.c // shape.groups), 1024)}


def over_samples(shape: Shape) -> Grid:
    """Of a kernel whose programs join the planes of a sample."""
    return (shape.b,), {"R": min(power_of_2(shape.c), 1024)}


def over_batch(shape: Shape, deep: bool) -> Grid:
    """Of a kernel whose programs join the planes of some channels; `deep` if several samples at once."""
    rows = min(power_of_2(shape.c), 16)
    depth = {"DEEP": min(power_of_2(shape.b), 1024 // rows)} if deep else {}
    return (tiles(shape.c, rows),), {"R": rows, **depth}


def holding_planes(shape: Shape, size: int) -> Grid:
    """Of a kernel whose programs hold whole planes, several of them if these have at most `size` values."""
    positions = power_of_2(shape.positions)
    rows = min(power_of_2(shape.c), max(1, size // positions))
    return held(shape.b * tiles(shape.c, rows), rows, positions)


def holding_groups(shape: Shape) -> Grid:
    """Of a kernel whose programs hold a group each."""
    rows = power_of_2(shape.c // shape.groups)
    return held(shape.b * shape.groups, rows, power_of_2(shape.positions))


def holding_samples(shape: Shape) -> Grid:
    """Of a kernel whose programs hold a sample each."""
    return held(shape.b, power_of_2(shape.c), power_of_2(shape.positions))


def held(programs: int, rows: int, positions: int) -> Grid:
    """The grid for so large a tile, with a warp for each 512 values."""
    warps = min(8, max(1, rows * positions // 512))
    return (programs,), {"R": rows, "BLOCK": positions, "num_warps": warps}


def fits(grid: Grid, size: int) -> bool:
    """Whether a tile has at most `size` values."""
    return grid[1]["R"] * grid[1]["BLOCK"] <= size


def power_of_2(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << (n - 1).bit_length()


def tiles(n: int, size: int) -> int:
    """How many of a size cover n."""
    return -(-n // size)
