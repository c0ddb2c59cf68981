"""Chooses the kernels that run for an input, their numbers of programs, and the sizes of their tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.steps import KernelStep, backward_pass, forward_pass
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.kernels.triton.tiles import Grid, Shape, merging

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Launch:
    """One kernel with everything but its tensors.

    Attributes:
        kernel: the function that Triton makes of the source.
        grid: the number of programs along each axis.
        values: its arguments in order, with None in the places of tensors.
        tensors: the places of the tensors, each with the name of the tensor.
        constants: the sizes of tiles and the number of warps.
    """

    kernel: Any
    grid: tuple[int, ...]
    values: tuple[int | float | None, ...]
    tensors: tuple[tuple[int, str], ...]
    constants: Mapping[str, int]
    _compiled: dict[tuple[Any, ...], Callable[..., None]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, given: Mapping[str, Tensor]) -> None:
        """Runs the kernel on tensors, given by name.

        At every launch, Triton looks the compiled kernel up by all arguments, which takes longer than a short kernel
        runs. Here only the tensors change from launch to launch, so the compiled kernel is kept by the properties of
        tensors that Triton looks at: their types, whether their addresses are multiples of 16 bytes, and their device.
        """
        values: list[Any] = list(self.values)
        for place, name in self.tensors:
            values[place] = given[name]
        tensors = [values[place] for place, _ in self.tensors]
        key = (tensors[0].device, *[(tensor.dtype, tensor.data_ptr() % 16 == 0) for tensor in tensors])
        compiled = self._compiled.get(key)
        if compiled is not None:
            compiled(*values, *(self.constants[name] for name in self.kernel.arg_names[len(values) :]))
            return
        kernel = self.kernel[self.grid](*values, **self.constants)
        if kernel is not None:  # Triton's interpreter compiles nothing and returns None
            self._compiled[key] = kernel[(*self.grid, 1, 1)[:3]]


@dataclass(frozen=True)
class Work:
    """Everything that runs for inputs of one shape.

    Attributes:
        forward, backward: the launches of each pass, in order.
        stats, totals: how many numbers these buffers hold.
        parts, parts_back: how many numbers programs that share planes compute before these are merged, in the forward
            and in the backward pass.
        pieces: how many programs share a plane in the last kernel of the backward pass.
    """

    forward: tuple[Launch, ...]
    backward: tuple[Launch, ...]
    stats: int
    totals: int
    parts: int
    parts_back: int
    pieces: int


class Launches:
    """Chooses the launches of a layer.

    Args:
        streaming, on_chip: the writers of its kernels.
        kernel: gives the function that Triton makes of a kernel, by its name.
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
        self._forward, self._backward = forward_pass(streaming, on_chip), backward_pass(streaming, on_chip)

    def of(self, shape: Shape, eps: float, momentum: float) -> Work:
        """Everything that runs for inputs of a shape."""
        numbers = {**shape.numbers(), "eps": eps, "momentum": momentum}
        both = [steps.steps_for(shape, self._use_on_chip) for steps in (self._forward, self._backward)]
        forward, backward = ([launch for step in steps for launch in self._of(step, shape, numbers)] for steps in both)
        stats, sums = (
            layout.size(shape.b, shape.c, shape.groups) for layout in (self._streaming.stats, self._streaming.sums)
        )
        parts, parts_back = (_parts(steps, shape) for steps in both)
        one_sweep = self._streaming.plan.one_sweep_back
        pieces = _pieces(both[1][-1].grid(shape)) if one_sweep else 1
        return Work(tuple(forward), tuple(backward), stats, sums, parts, parts_back, pieces)

    def _of(self, step: KernelStep, shape: Shape, numbers: Mapping[str, int | float]) -> Iterator[Launch]:
        """The launch of a step's kernel and, if programs share planes, of the one that merges their results."""
        grid = step.grid(shape)
        if step.merge is None or _pieces(grid) == 1:
            yield self._launch(step.kernel, grid, numbers, step.buffer)
        else:
            yield self._launch(step.kernel, grid, numbers, "parts")
            yield self._launch(step.merge, merging(shape.b * shape.c, grid[1]["span"]), numbers)

    def _launch(self, name: str, grid: Grid, numbers: Mapping[str, int | float], found: str = "") -> Launch:
        kernel, (programs, division) = self._kernel(name), grid
        arguments = [a for a in kernel.arg_names if a not in division]
        pointers = ((place, a.removesuffix("_ptr")) for place, a in enumerate(arguments) if a not in numbers)
        tensors = tuple((place, found if pointer == "found" else pointer) for place, pointer in pointers)
        return Launch(kernel, programs, tuple(numbers.get(a) for a in arguments), tensors, division)


def _parts(steps: tuple[KernelStep, ...], shape: Shape) -> int:
    """How many numbers programs that share planes compute in the largest of some steps."""
    shared = [(_pieces(step.grid(shape)), step.per_plane) for step in steps if step.merge is not None]
    return max((pieces * count for pieces, count in shared if pieces > 1), default=0) * shape.b * shape.c


def _pieces(grid: Grid) -> int:
    """How many programs share a plane."""
    programs = grid[0]
    return programs[1] if len(programs) > 1 else 1
