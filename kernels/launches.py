"""Which kernels of a layer run for an input, on how many programs, with tiles of which size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import triton

from evonas.kernels.on_chip import OnChipKernels
from evonas.kernels.schedule import Join
from evonas.kernels.streaming import StreamingKernels
from evonas.ops import IndexSet

if TYPE_CHECKING:
    from torch import Tensor

TILE = {False: 4096, True: 2048}
"""Values of a tile of x, and of tiles of x and dy: the more there are the more loads are in flight, and the more
registers are taken of 128 threads."""
ON_CHIP = {False: 16384, True: 8192}
"""Values of the largest cell that a program holds, of x, and of x and dy: up to 64 registers of 256 threads."""
_JOINED_AT_ONCE = 1024


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


@dataclass(frozen=True)
class Launch:
    """One kernel with everything but its tensors.

    Attributes:
        kernel: what Triton makes of the source.
        grid: how many programs.
        values: its arguments in order; those of tensors are to be filled in.
        tensors: where they stand, and the names of what their pointers point to.
        constants: sizes of tiles and the number of warps.
    """

    kernel: Any
    grid: tuple[int, ...]
    values: tuple[int | float | None, ...]
    tensors: tuple[tuple[int, str], ...]
    constants: Mapping[str, int]

    def __call__(self, given: Mapping[str, Tensor]) -> None:
        """Runs it on tensors, by name."""
        values: list[Any] = list(self.values)
        for place, name in self.tensors:
            values[place] = given[name]
        self.kernel[self.grid](*values, **self.constants)


@dataclass(frozen=True)
class Work:
    """Everything that runs for inputs of one shape.

    Attributes:
        forward, backward: in order.
        stats, totals: numbers that their buffers hold.
    """

    forward: tuple[Launch, ...]
    backward: tuple[Launch, ...]
    stats: int
    totals: int


class Launches:
    """Chooses the launches of a layer.

    Args:
        streaming, on_chip: writers of its kernels.
        kernel: by name, what Triton makes of it.
        use_on_chip: whether to hold whole cells on chip where they fit.
        settings: `eps` and `momentum`, by argument.
    """

    def __init__(
        self,
        streaming: StreamingKernels,
        on_chip: OnChipKernels,
        kernel: Callable[[str], Any],
        use_on_chip: bool,
    ) -> None:
        self._streaming, self._on_chip, self._kernel = streaming, on_chip, kernel
        self._one_kernel = use_on_chip and on_chip.possible

    def of(self, shape: Shape, eps: float, momentum: float) -> Work:
        """The work for inputs of a shape."""
        plan, kernels = self._streaming.plan, self._streaming
        numbers = {**shape.numbers(), "eps": eps, "momentum": momentum}
        forward, backward = [], []
        if self._fits(shape, ON_CHIP[False]):
            forward.append(self._by_cells("forward_on_chip", shape, numbers))
        else:
            for after in range(len(plan.sweeps) + 1):
                if after:
                    forward.append(self._over_planes(f"sweep_{after}", shape, numbers))
                for number, join in enumerate(kernels.forward_joins, 1):
                    if join.after == after:
                        forward.append(self._join(f"join_{number}", join, shape, numbers))
            forward.append(self._over_planes("write", shape, numbers))
        if plan.one_sweep_back:
            backward.append(self._over_planes("write_back", shape, numbers))
        elif self._fits(shape, ON_CHIP[True]):
            backward.append(self._by_cells("backward_on_chip", shape, numbers))
        else:
            backward.append(self._over_planes("total", shape, numbers))
            for number, join in enumerate(kernels.backward_joins, 1):
                backward.append(self._join(f"join_back_{number}", join, shape, numbers))
            backward.append(self._over_planes("write_back", shape, numbers))
        sizes = (slots.size(shape.b, shape.c, shape.groups) for slots in (kernels.stats, kernels.sums))
        return Work(tuple(forward), tuple(backward), *sizes)

    def _cell(self, shape: Shape) -> tuple[int, int, int]:
        """Rows and positions of a cell's tile, in powers of two, and how many programs there are."""
        positions = triton.next_power_of_2(shape.positions)
        match self._on_chip.cell:
            case IndexSet.WHCG:
                return triton.next_power_of_2(shape.c // shape.groups), positions, shape.b * shape.groups
            case IndexSet.WHC:
                return triton.next_power_of_2(shape.c), positions, shape.b
        rows = min(triton.next_power_of_2(shape.c), max(1, TILE[True] // positions))
        return rows, positions, shape.b * triton.cdiv(shape.c, rows)

    def _fits(self, shape: Shape, limit: int) -> bool:
        if not self._one_kernel:
            return False
        rows, positions, _ = self._cell(shape)
        return rows * positions <= limit

    def _by_cells(self, name: str, shape: Shape, numbers: Mapping[str, int | float]) -> Launch:
        rows, positions, programs = self._cell(shape)
        warps = min(8, max(1, rows * positions // 512))
        return self._launch(name, (programs,), numbers, R=rows, BLOCK=positions, num_warps=warps)

    def _over_planes(self, name: str, shape: Shape, numbers: Mapping[str, int | float]) -> Launch:
        size = TILE["dy_ptr" in self._kernel(name).arg_names]
        channels, positions = triton.next_power_of_2(shape.c), triton.next_power_of_2(shape.positions)
        if shape.channels_last:  # neighbouring channels lie side by side
            rows = min(channels, 64)
            block = min(positions, size // rows)
        else:
            block = min(positions, 1024)
            rows = min(channels, max(1, size // block))
        return self._launch(name, (shape.b * triton.cdiv(shape.c, rows),), numbers, R=rows, BLOCK=block)

    def _join(self, name: str, join: Join, shape: Shape, numbers: Mapping[str, int | float]) -> Launch:
        if join.index_set is IndexSet.BWH:
            rows = min(triton.next_power_of_2(shape.c), 16)
            deep = min(triton.next_power_of_2(shape.b), _JOINED_AT_ONCE // rows)
            extra = {"DEEP": deep} if join.nodes else {}
            return self._launch(name, (triton.cdiv(shape.c, rows),), numbers, R=rows, **extra)
        grouped = join.index_set is IndexSet.WHCG
        width, cells = (shape.c // shape.groups, shape.b * shape.groups) if grouped else (shape.c, shape.b)
        return self._launch(name, (cells,), numbers, R=min(triton.next_power_of_2(width), _JOINED_AT_ONCE))

    def _launch(self, name: str, grid: tuple[int, ...], numbers: Mapping[str, int | float], **constants: int) -> Launch:
        kernel = self._kernel(name)
        arguments = [a for a in kernel.arg_names if a not in constants]
        tensors = tuple((place, a.removesuffix("_ptr")) for place, a in enumerate(arguments) if a not in numbers)
        return Launch(kernel, grid, tuple(numbers.get(a) for a in arguments), tensors, constants)
