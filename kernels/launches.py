"""Which kernels of a layer run for an input, on how many programs, with tiles of which size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evonas.kernels.on_chip import OnChipKernels
from evonas.kernels.steps import Step, backward_way, forward_way
from evonas.kernels.streaming import StreamingKernels
from evonas.kernels.tiles import Shape

if TYPE_CHECKING:
    from torch import Tensor


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
    """

    def __init__(
        self,
        streaming: StreamingKernels,
        on_chip: OnChipKernels,
        kernel: Callable[[str], Any],
        use_on_chip: bool,
    ) -> None:
        self._streaming, self._kernel, self._use_on_chip = streaming, kernel, use_on_chip
        self._forward, self._backward = forward_way(streaming, on_chip), backward_way(streaming, on_chip)

    def of(self, shape: Shape, eps: float, momentum: float) -> Work:
        """The work for inputs of a shape."""
        numbers = {**shape.numbers(), "eps": eps, "momentum": momentum}
        ways = (way.taken(shape, self._use_on_chip) for way in (self._forward, self._backward))
        forward, backward = (tuple(self._launch(step, shape, numbers) for step in steps) for steps in ways)
        sizes = (slots.size(shape.b, shape.c, shape.groups) for slots in (self._streaming.stats, self._streaming.sums))
        return Work(forward, backward, *sizes)

    def _launch(self, step: Step, shape: Shape, numbers: Mapping[str, int | float]) -> Launch:
        kernel, (grid, constants) = self._kernel(step.kernel), step.grid(shape)
        arguments = [a for a in kernel.arg_names if a not in constants]
        tensors = tuple((place, a.removesuffix("_ptr")) for place, a in enumerate(arguments) if a not in numbers)
        return Launch(kernel, grid, tuple(numbers.get(a) for a in arguments), tensors, constants)
