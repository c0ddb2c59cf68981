"""Which kernels of a layer run for an input, on how many programs, with tiles of which size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.steps import KernelStep, backward_way, forward_way
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.kernels.triton.tiles import Grid, Shape, merging

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
    _compiled: dict[tuple[Any, ...], Callable[..., None]] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, given: Mapping[str, Tensor]) -> None:
        """Runs it on tensors, by name.

        Triton finds the compiled kernel by everything that it is handed, at every launch, which takes longer than short
        kernels do. Here all but the tensors is the same every time, so what it found is kept by their types, whether
        they lie at multiples of 16 bytes, which is what it looks at, and where they are.
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
        if kernel is not None:  # as it is in Triton's interpreter, which compiles nothing
            self._compiled[key] = kernel[(*self.grid, 1, 1)[:3]]


@dataclass(frozen=True)
class Work:
    """Everything that runs for inputs of one shape.

    Attributes:
        forward, backward: in order.
        stats, totals: numbers that their buffers hold.
        parts, parts_back: numbers that programs which share planes find before they are merged, forward and backward.
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
        ways = [way.taken(shape, self._use_on_chip) for way in (self._forward, self._backward)]
        forward, backward = ([launch for step in steps for launch in self._of(step, shape, numbers)] for steps in ways)
        stats, sums = (
            slots.size(shape.b, shape.c, shape.groups) for slots in (self._streaming.stats, self._streaming.sums)
        )
        parts, parts_back = (_parts(steps, shape) for steps in ways)
        one_sweep = self._streaming.plan.one_sweep_back
        pieces = _pieces(ways[1][-1].grid(shape)) if one_sweep else 1
        return Work(tuple(forward), tuple(backward), stats, sums, parts, parts_back, pieces)

    def _of(self, step: KernelStep, shape: Shape, numbers: Mapping[str, int | float]) -> Iterator[Launch]:
        """A step's kernel, and what merges its results where several programs share planes."""
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
    """The numbers that programs which share planes find in the largest of some steps."""
    shared = [(_pieces(step.grid(shape)), step.slots) for step in steps if step.merge is not None]
    return max((pieces * slots for pieces, slots in shared if pieces > 1), default=0) * shape.b * shape.c


def _pieces(grid: Grid) -> int:
    """How many programs share a plane."""
    programs = grid[0]
    return programs[1] if len(programs) > 1 else 1
