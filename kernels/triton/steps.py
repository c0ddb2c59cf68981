"""In which order a layer's kernels run forward and backward, each with how it is divided among programs."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.kernels.plan.schedule import Join
from evonas.kernels.triton import tiles
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.language.primitive_table import IndexSet


@dataclass(frozen=True, slots=True)
class KernelStep:
    """One kernel.

    Attributes:
        kernel: its name.
        division: the name of the function of `evonas.kernels.triton.tiles` that gives its grid.
        settings: what that function takes after the shape.
        merge: the kernel that merges what several programs found of planes, where they share them.
        buffer: where it is found then, or found at once: `stats` or `totals`.
        slots: how many numbers of each plane that buffer holds.
    """

    kernel: str
    division: str
    settings: tuple[bool | str, ...] = ()
    merge: str | None = None
    buffer: str = ""
    slots: int = 0

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
        back: whether it is the backward pass.
    """

    steps: tuple[KernelStep, ...]
    at_once: KernelStep | None
    back: bool

    def taken(self, shape: tiles.Shape, on_chip: bool = True) -> tuple[KernelStep, ...]:
        """The steps for inputs of a shape; `on_chip` if cells may be held there."""
        if (
            on_chip
            and self.at_once is not None
            and tiles.fits(self.at_once.grid(shape), shape.channels_last, self.back)
        ):
            return (self.at_once,)
        return self.steps


def forward_way(streaming: StreamingKernels, on_chip: OnChipKernels) -> Way:
    """The forward pass."""
    steps: list[KernelStep] = []
    for after in range(len(streaming.plan.sweeps) + 1):
        if after:
            slots = streaming.stats.counts()["planes"]
            steps.append(KernelStep(f"sweep_{after}", "over_planes", ("reduce",), f"merge_{after}", "stats", slots))
        for number, join in enumerate(streaming.forward_joins, 1):
            if join.after == after:
                steps.append(_join(f"join_{number}", join))
    steps.append(KernelStep("write", "over_planes", ("write",)))
    return Way(tuple(steps), _held("forward_on_chip", on_chip, False) if on_chip.possible else None, False)


def backward_way(streaming: StreamingKernels, on_chip: OnChipKernels) -> Way:
    """The backward pass."""
    last = KernelStep(
        "write_back", "over_planes", ("write back and reduce" if streaming.plan.one_sweep_back else "write back",)
    )
    if streaming.plan.one_sweep_back:
        return Way((last,), None, True)
    joins = [_join(f"join_back_{number}", join) for number, join in enumerate(streaming.backward_joins, 1)]
    slots = streaming.sums.counts()["planes"]
    steps = (KernelStep("total", "over_planes", ("reduce",), "merge_total", "totals", slots), *joins, last)
    return Way(steps, _held("backward_on_chip", on_chip, True) if on_chip.possible else None, True)


def _join(name: str, join: Join) -> KernelStep:
    if join.index_set is IndexSet.BWH:
        return KernelStep(name, "over_batch", (bool(join.nodes),))
    return KernelStep(name, "over_groups" if join.index_set is IndexSet.WHCG else "over_samples")


def _held(name: str, kernels: OnChipKernels, back: bool) -> KernelStep:
    match kernels.cell:
        case IndexSet.WHCG:
            return KernelStep(name, "holding_groups", (back,))
        case IndexSet.WHC:
            return KernelStep(name, "holding_samples", (back,))
    return KernelStep(name, "holding_planes", (back,))
