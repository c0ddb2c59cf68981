"""How the work of a kernel is divided among programs: its grid, and the sizes of its tiles.

Exported files contain the text of these functions, so they use only Python itself.
"""

from __future__ import annotations

from typing import NamedTuple

Grid = tuple[tuple[int, ...], dict[str, int]]
"""How many programs a kernel has, and what its division is made of: its constants, and `span`."""

ENOUGH = 528
"""Programs that keep a GPU busy: four for each of the 132 multiprocessors of an H100 or H200."""
ACROSS = {
    "reduce": (64, 2048, 4),
    "reduce much": (64, 1024, 2),
    "write": (64, 4096, 8),
    "write small planes": (128, 2048, 4),
    "write back": (64, 1024, 4),
    "write back and reduce": (64, 1024, 4),
}
"""For channels that lie side by side, by what a kernel does: channels of a tile at most, values of
it, and warps. A compromise over ResNet-50's planes of those that were tried on an H200 in bfloat16
and whose registers suffice; `reduce much`, of more than FEW_SUMS sums, was chosen by its
registers and instructions alone."""
FEW_SUMS = 4
"""More sums of a plane than this take so many registers that tiles are smaller."""


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


def over_planes(shape: Shape, work: str) -> Grid:
    """Of a kernel whose programs own some channels of a sample, and all or some of their positions.

    Where planes are few, several programs share them, so that a GPU has enough of them; each goes
    over some four tiles. `work` is `reduce`, `reduce much`, `write`, `write back`, or `write back and
    reduce`. With LANES threads sum for themselves, tile after tile, and are added up once at the end.
    """
    grid, division = divided(shape, *tile(shape, work))
    if "reduce" in work:
        keeps = shape.channels_last or shape.positions > division["BLOCK"]
        division["LANES"] = division["BLOCK"] if keeps else 1
    return grid, division


def divided(shape: Shape, rows: int, block: int, warps: int) -> Grid:
    """The grid for tiles of so many channels and positions."""
    programs, pieces = shape.b * tiles(shape.c, rows), 1
    if programs < ENOUGH:
        pieces = min(tiles(2 * ENOUGH, programs), tiles(shape.positions, 4 * block))
    span = tiles(tiles(shape.positions, pieces), block) * block
    division = {"span": span, "R": rows, "BLOCK": block, "num_warps": warps}
    return (programs, tiles(shape.positions, span)), division


def tile(shape: Shape, work: str) -> tuple[int, int, int]:
    """Channels, positions and warps of a tile."""
    if shape.channels_last:
        small = work == "write" and shape.positions <= 256
        most, values, warps = ACROSS["write small planes" if small else work]
        rows = min(power_of_2(shape.c), most)
        while rows > 16 and tiles(shape.c, rows) * rows > 1.1 * shape.c:
            rows //= 2  # a tenth of the lanes may be idle
        return rows, min(power_of_2(shape.positions), values // rows), warps
    block = min(power_of_2(shape.positions), 1024)
    values, warps = (1024, 4) if shape.positions > 1024 else (2048 if block > 256 else 512, 2)
    return min(power_of_2(shape.c), values // block), block, warps


def merging(planes: int, span: int) -> Grid:
    """Of a kernel that merges what several programs found of planes."""
    return (tiles(planes, 128),), {"span": span, "R": 128, "num_warps": 4}


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


def holding_planes(shape: Shape, back: bool) -> Grid:
    """Of a kernel whose programs hold whole planes, several of them if these are small."""
    positions = power_of_2(shape.positions)
    rows = min(power_of_2(shape.c), max(1, 2048 // positions))
    return held(shape, shape.b * tiles(shape.c, rows), rows, back)


def holding_groups(shape: Shape, back: bool) -> Grid:
    """Of a kernel whose programs hold a group each."""
    return held(shape, shape.b * shape.groups, power_of_2(shape.c // shape.groups), back)


def holding_samples(shape: Shape, back: bool) -> Grid:
    """Of a kernel whose programs hold a sample each."""
    return held(shape, shape.b, power_of_2(shape.c), back)


def held(shape: Shape, programs: int, rows: int, back: bool) -> Grid:
    """The grid for so many planes, with as few warps as have the registers: they then wait for each other least."""
    positions = power_of_2(shape.positions)
    each = 512 if back else 2048
    each *= 2 if shape.channels_last else 1
    warps = min(16 if back else 8, max(2, rows * positions // each))
    return (programs,), {"R": rows, "BLOCK": positions, "num_warps": warps}


def fits(grid: Grid, channels_last: bool, back: bool) -> bool:
    """Whether programs that hold whole cells beat those that go over x more than once.

    The backward pass holds x and dy; channels last, what it saves is less than what it waits.
    """
    most = (4096 if channels_last else 8192) if back else 16384
    return grid[1]["R"] * grid[1]["BLOCK"] <= most


def over_rows(shape: Shape, kind: str, heavy: bool, back: bool) -> Grid:
    """Of a kernel that holds whole rows, the channels of a position each, or the groups of rows.

    `kind` is `rows`; `groups` where each group of a position is a row of its own; or `rows of groups`
    where a tile is one position, with its groups as rows. A thread holds 16 values, and 8 if the
    kernel is `heavy`, unless one row has more. In the backward pass some 512 programs go over all
    rows, whatever the GPU, so that their sums have the same bits.
    """
    positions, groups = shape.b * shape.positions, 1 if kind == "rows" else shape.groups
    width = shape.c // groups
    block, values = max(2, power_of_2(width)), 8 if heavy else 16
    if kind == "rows of groups":
        rows, at_once, across = power_of_2(groups), 1, 1
    else:
        rows = at_once = max(1, 128 * values // block)
        across = groups
    warps = min(32, max(4, rows * block // (32 * values)))
    division = {"CHANNELS": shape.c, "WIDTH": width, "R": rows, "BLOCK": block, "num_warps": warps}
    if back:
        each = at_once * tiles(positions, at_once * max(1, 512 // across))
        division |= {"row_count": positions, "rows_each": each}
        return (tiles(positions, each), across), division
    division |= {} if kind == "rows of groups" else {"row_count": positions}
    return (tiles(positions, at_once), across), division


def power_of_2(n: int) -> int:
    """The smallest that is at least n."""
    return 1 << (n - 1).bit_length()


def tiles(n: int, size: int) -> int:
    """How many of a size cover n."""
    return -(-n // size)
