"""The kernels of a layer's two passes in the order in which they run, each with its division among programs."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.kernels.plan.schedule import PlaneReduction, Step, StepKind
from evonas.kernels.triton import tiles
from evonas.kernels.triton.on_chip import BACKWARD, FORWARD, OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.language.primitive_table import IndexSet


@dataclass(frozen=True, slots=True)
class KernelStep:
    """One kernel of a pass.

    Attributes:
        kernel: its name.
        division: the name of the function in `evonas.kernels.triton.tiles` that gives its grid.
        settings: the arguments of that function after the shape.
        merge: the kernel that merges the results where several programs share a plane; None if it needs none.
        buffer: the buffer that the results end up in, `stats` or `totals`.
        per_plane: how many numbers of each plane that buffer holds.
    """

    kernel: str
    division: str
    settings: tuple[bool | str, ...] = ()
    merge: str | None = None
    buffer: str = ""
    per_plane: int = 0

    def grid(self, shape: tiles.Shape) -> tiles.Grid:
        """The grid and the division for inputs of a shape."""
        found: tiles.Grid = getattr(tiles, self.division)(shape, *self.settings)
        return found


@dataclass(frozen=True, slots=True)
class KernelPass:
    """The kernels of one pass of a layer.

    Attributes:
        steps: the streaming kernels, in order.
        on_chip: the one kernel that does the work of all of them where whole cells fit on chip; None if there is none.
        backward: whether this is the backward pass.
    """

    steps: tuple[KernelStep, ...]
    on_chip: KernelStep | None
    backward: bool

    def steps_for(self, shape: tiles.Shape, use_on_chip: bool = True) -> tuple[KernelStep, ...]:
        """The kernels to run for inputs of a shape; with `use_on_chip`, cells may be held on chip."""
        if (
            use_on_chip
            and self.on_chip is not None
            and tiles.fits(self.on_chip.grid(shape), shape.channels_last, self.backward)
        ):
            return (self.on_chip,)
        return self.steps


def forward_pass(streaming: StreamingKernels, on_chip: OnChipKernels) -> KernelPass:
    """The forward pass, from the writers of a layer's kernels."""
    steps = tuple(_kernel_step(step, streaming) for step in streaming.schedule.forward)
    return KernelPass(steps, _holding(FORWARD, on_chip, False) if on_chip.has_forward else None, False)


def backward_pass(streaming: StreamingKernels, on_chip: OnChipKernels) -> KernelPass:
    """The backward pass, from the writers of a layer's kernels."""
    steps = tuple(_kernel_step(step, streaming) for step in streaming.schedule.backward)
    return KernelPass(steps, _holding(BACKWARD, on_chip, True) if on_chip.has_backward else None, True)


def _kernel_step(step: Step, streaming: StreamingKernels) -> KernelStep:
    match step.kind:
        case StepKind.SWEEP:
            layout = streaming.layout_of(step.swept)
            buffer = "stats" if layout is streaming.stats else "totals"
            count = layout.counts()["planes"]
            work = "reduce" if len(_sums(step)) <= tiles.FEW_SUMS else "reduce much"
            return KernelStep(step.name, "over_planes", (work,), step.merge, buffer, count)
        case StepKind.WRITE:
            return KernelStep(step.name, "over_planes", ("write",))
        case StepKind.WRITE_BACK:
            work = "write back and reduce" if streaming.plan.one_sweep_back else "write back"
            return KernelStep(step.name, "over_planes", (work,))
    assert step.reduction is not None  # no other kind is left
    return _reduction_step(step.name, step.reduction)


def _sums(step: Step) -> list[int]:
    return [leaf for swept in step.swept for leaf in swept.leaves]


def _reduction_step(name: str, reduction: PlaneReduction) -> KernelStep:
    if reduction.index_set is IndexSet.BWH:
        return KernelStep(name, "over_batch", (bool(reduction.nodes),))
    return KernelStep(name, "over_groups" if reduction.index_set is IndexSet.WHCG else "over_samples")


def _holding(name: str, kernels: OnChipKernels, backward: bool) -> KernelStep:
    """A kernel whose programs hold whole cells."""
    match kernels.cell:
        case IndexSet.WHCG:
            return KernelStep(name, "holding_groups", (backward,))
        case IndexSet.WHC:
            return KernelStep(name, "holding_samples", (backward,))
    return KernelStep(name, "holding_planes", (backward,))
