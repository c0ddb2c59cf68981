"""In which order a layer's kernels run forward and backward, each with how it is divided among programs."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.kernels import tiles
from evonas.kernels.on_chip import OnChipKernels
from evonas.kernels.schedule import Join
from evonas.kernels.streaming import StreamingKernels
from evonas.ops import IndexSet

TILE = {False: 4096, True: 2048}
"""Values of a tile of x, and of tiles of x and dy: the more there are the more loads are in flight, and the more
registers are taken of 128 threads."""
ON_CHIP = {False: 16384, True: 8192}
"""Values of the largest cell that a program holds, of x, and of x and dy: up to 64 registers of 256 threads."""


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel.

    Attributes:
        kernel: its name.
        division: the name of the function of `evonas.kernels.tiles` that gives its grid.
        settings: what that function takes after the shape.
    """

    kernel: str
    division: str
    settings: tuple[int | bool, ...] = ()

    def grid(self, shape: tiles.Shape) -> tiles.Grid:
        """For inputs of a shape."""
        found: tiles.Grid = getattr(tiles, self.division)(shape, *self.settings)
        return found


@dataclass(frozen=True, slots=True)
class Way:
    """One pass of a layer, forward or backward.

    Attributes:
        steps: what runs, in order.
        at_once: the one kernel that does it all where cells fit on chip, if there is one.
        most: values of the largest cell that fits.
    """

    steps: tuple[Step, ...]
    at_once: Step | None
    most: int

    def taken(self, shape: tiles.Shape, on_chip: bool = True) -> tuple[Step, ...]:
        """The steps for inputs of a shape; `on_chip` if cells may be held there."""
        if on_chip and self.at_once is not None and tiles.fits(self.at_once.grid(shape), self.most):
            return (self.at_once,)
        return self.steps


def forward_way(streaming: StreamingKernels, on_chip: OnChipKernels) -> Way:
    """The forward pass."""
    steps: list[Step] = []
    for after in range(len(streaming.plan.sweeps) + 1):
        if after:
            steps.append(_sweep(f"sweep_{after}", False))
        for number, join in enumerate(streaming.forward_joins, 1):
            if join.after == after:
                steps.append(_join(f"join_{number}", join))
    steps.append(_sweep("write", False))
    return Way(tuple(steps), _held("forward_on_chip", on_chip) if on_chip.possible else None, ON_CHIP[False])


def backward_way(streaming: StreamingKernels, on_chip: OnChipKernels) -> Way:
    """The backward pass."""
    last = _sweep("write_back", True)
    if streaming.plan.one_sweep_back:
        return Way((last,), None, ON_CHIP[True])
    joins = [_join(f"join_back_{number}", join) for number, join in enumerate(streaming.backward_joins, 1)]
    steps = (_sweep("total", True), *joins, last)
    return Way(steps, _held("backward_on_chip", on_chip) if on_chip.possible else None, ON_CHIP[True])


def _sweep(name: str, reads_dy: bool) -> Step:
    return Step(name, "over_planes", (TILE[reads_dy],))


def _join(name: str, join: Join) -> Step:
    if join.index_set is IndexSet.BWH:
        return Step(name, "over_batch", (bool(join.nodes),))
    return Step(name, "over_groups" if join.index_set is IndexSet.WHCG else "over_samples")


def _held(name: str, kernels: OnChipKernels) -> Step:
    match kernels.cell:
        case IndexSet.WHCG:
            return Step(name, "holding_groups")
        case IndexSet.WHC:
            return Step(name, "holding_samples")
    return Step(name, "holding_planes", (TILE[True],))
