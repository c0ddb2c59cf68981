"""Writes a layer as one self-contained C++ file: helpers, kernels, and an entry for each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evonas.kernels.cpp.build import helpers_text
from evonas.kernels.cpp.functions import CppKernels
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.cpp.rows import CppRows
from evonas.kernels.plan.plan import Plan
from evonas.kernels.plan.rows import RowPlan
from evonas.kernels.plan.schedule import Step
from evonas.kernels.printing.buffers import PARAMETER_POINTERS, Buffers
from evonas.layers.running_values import running_names

POINTERS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", *PARAMETER_POINTERS),
    *("stats_ptr", "totals_ptr", "densities_ptr", "gradients_ptr"),
    *("residual_ptr", "r_ptr", "dr_ptr"),
)
"""The pointers of a `Call`, in order; those of running values follow.

The last three are null but in a call for x + residual: kernels of rows store that sum at r, compute the layer from it,
and add dr to the gradient of x, unless dr is null.
"""
COUNTS = ("B", "C", "HW", "G")
"""The fields of a `Call` that are 64-bit integers."""
REALS = ("eps", "momentum", "unbias")
"""The fields of a `Call` of type double."""


@dataclass(frozen=True)
class Variant:
    """The inputs that one file of a layer is made for.

    Attributes:
        layout: the memory layout of the input.
        double: whether the input is float64; otherwise it is float32.
        backward: whether the file has the backward pass too.
    """

    layout: MemoryLayout = MemoryLayout.PLANES
    double: bool = False
    backward: bool = True


class PlaneFile:
    """What the callers of a layer's file know of a layer that is computed plane by plane.

    Attributes:
        densities: the names of the parameters, in the order of the rows of their gradients.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._buffers = Buffers(plan, running_names(plan.graph))
        self.densities = self._buffers.densities

    def sizes(self, b: int, c: int, positions: int, groups: int) -> tuple[int, int]:
        """How many numbers the forward pass leaves for the backward pass, and how many that computes on its way."""
        return self._buffers.stats.size(b, c, groups), self._buffers.sums.size(b, c, groups)

    def text(self, variant: Variant) -> str:
        """The text of the file."""
        return cpp_source(self._plan, variant)


class RowFile:
    """The same of a layer that is computed row by row."""

    def __init__(self, plan: RowPlan) -> None:
        self._plan, self._rows = plan, CppRows(plan)
        self.densities = self._rows.densities

    def sizes(self, b: int, c: int, positions: int, groups: int) -> tuple[int, int]:
        """How many numbers the forward and the backward pass need beside their inputs; nothing is left for later."""
        rows = b * positions
        return self._rows.stats_size(rows, groups), self._rows.totals_size(rows, c, groups)

    def text(self, variant: Variant) -> str:
        """The text of the file."""
        return row_source(self._plan, variant.double, variant.backward)


def cpp_source(plan: Plan, variant: Variant = Variant()) -> str:
    """The text of the file; its entries `forward` and `backward` take a `Call` and the number of threads."""
    running = running_names(plan.graph)
    kernels = CppKernels(plan, running, variant.layout)
    pointers = [*POINTERS, *(f"{name}_ptr" for name in running.values())]
    passes = [_pass(kernels, "forward", kernels.schedule.forward)]
    if variant.backward:
        passes.append(_pass(kernels, "backward", kernels.schedule.backward))
    mode, layout = "training" if plan.training else "evaluation", variant.layout.value
    parts = [
        # Expressions consist of names and operators only, so they cannot end a comment.
        f"// y = weight * f(x) + bias, in {mode}, x being {layout}, with\n//\n//     f(x) = {plan.graph.written()}\n",
        f"#define DOUBLE {int(variant.double)}\n",
        helpers_text(),
        _call(pointers),
        _runner_text(),
        "namespace {\n",
        *(function for functions, _ in passes for function in functions),
        "}  // namespace\n",
        *(entry for _, entry in passes),
    ]
    return "\n".join(parts)


def row_source(plan: RowPlan, double: bool = False, backward: bool = True) -> str:
    """The text of the file of a layer that is computed row by row, with the same entries."""
    kernels = CppRows(plan)
    return "\n".join(
        [
            f"// y = weight * f(x) + bias, row by row, with\n//\n//     f(x) = {plan.graph.written()}\n",
            f"#define DOUBLE {int(double)}\n",
            helpers_text(),
            _call(POINTERS),
            _runner_text(),
            "namespace {\n",
            *kernels.functions(backward),
            "}  // namespace\n",
            *kernels.entries(backward),
        ]
    )


def _pass(kernels: CppKernels, name: str, steps: Sequence[Step]) -> tuple[list[str], str]:
    """The functions of one pass, and its entry.

    Consecutive steps that need one sample at a time are called by one function, which runs over the samples.
    """
    functions = [kernels.source(step) for step in steps]
    calls = [(step.name, not step.spans_batch) for step in steps]  # each with whether it is called for each sample
    if name == "backward":
        functions.append(kernels.sum_densities())
        calls.append(("sum_densities", False))
    lines: list[str] = []
    of_sample: list[str] = []
    for function, each_sample in [*calls, ("", False)]:
        if each_sample:
            of_sample.append(f"    {function}(call, b);\n")
            continue
        if of_sample:
            stretch = f"{name}_{len(lines) + 1}"
            functions.append(f"void {stretch}(const Call& call, i64 b) {{\n{''.join(of_sample)}}}\n")
            lines.append(f"    over_samples({stretch}, *call, threads, {'true' if lines else 'false'});\n")
            of_sample = []
        if function:
            lines.append(f"    {function}(*call);\n")
    return functions, f'extern "C" void {name}(const Call* call, i64 threads) {{\n{"".join(lines)}}}\n'


def _call(pointers: Sequence[str]) -> str:
    """The struct that holds the arguments of an entry."""
    fields = [f"T *{', *'.join(pointers)};", f"i64 {', '.join(COUNTS)};", f"double {', '.join(REALS)};"]
    return "\n    ".join(["struct Call {", *fields]) + "\n};\n"


@cache
def _runner_text() -> str:
    """The text of `runner.h`, which runs functions over the samples."""
    return (Path(__file__).parent / "runner.h").read_text()
