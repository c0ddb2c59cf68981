"""A layer as one C++ file that stands by itself: helpers, kernels, and an entry for each pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evonas.kernels.cpp.build import helpers
from evonas.kernels.cpp.functions import CppKernels
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.plan.plan import plan_of
from evonas.kernels.plan.schedule import Join
from evonas.language.graph import Graph
from evonas.language.primitive_table import IndexSet
from evonas.layers.running_values import running_names

POINTERS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", "v0_ptr", "v1_ptr", "weight_ptr", "bias_ptr"),
    *("stats_ptr", "totals_ptr", "densities_ptr", "gradients_ptr"),
)
"""What `Call` points to, in order; then come running values."""
COUNTS = ("B", "C", "HW", "G")
"""Whole numbers of 64 bits."""
REALS = ("eps", "momentum", "unbias")
"""Numbers of type double."""


@dataclass(frozen=True)
class Variant:
    """What one file is for, beside the graph.

    Attributes:
        training: whether statistics over the batch are taken from it.
        layout: of the input.
        double: whether for float64, else for float32.
        backward: whether it has the backward pass too.
    """

    training: bool
    layout: MemoryLayout = MemoryLayout.PLANES
    double: bool = False
    backward: bool = True


def kernels_of(graph: Graph, variant: Variant) -> CppKernels:
    """The writer of a layer's kernels."""
    return CppKernels(plan_of(graph, variant.training), running_names(graph), variant.layout)


def cpp_source(graph: Graph, variant: Variant) -> str:
    """The text of the file; its entries `forward` and `backward` take a `Call` and the number of threads."""
    kernels = kernels_of(graph, variant)
    pointers = [*POINTERS, *(f"{name}_ptr" for name in running_names(graph).values())]
    entries = [_forward(kernels), *([_backward(kernels)] if variant.backward else [])]
    mode = "training" if variant.training else "evaluation"
    lies = variant.layout.value
    parts = [
        # Expressions are made of names and signs alone, and end no comment.
        f"// y = weight * f(x) + bias, in {mode}, x being {lies}, with\n//\n//     f(x) = {graph.written()}\n",
        f"#define DOUBLE {int(variant.double)}\n",
        helpers(),
        _call(pointers),
        _runner(),
        "namespace {\n",
        *(function for functions, _ in entries for function in functions),
        "}  // namespace\n",
        *(entry for _, entry in entries),
    ]
    return "\n".join(parts)


def _forward(kernels: CppKernels) -> tuple[list[str], str]:
    """The functions of the forward pass, and its entry."""
    functions: list[str] = []
    called: list[tuple[str, bool]] = []  # what is called, and whether for each sample
    for after in range(len(kernels.plan.sweeps) + 1):
        if after:
            functions.append(kernels.sweep(after))
            called.append((f"sweep_{after}", True))
        joins = [(n, join) for n, join in enumerate(kernels.forward_joins, 1) if join.after == after]
        called += _joins(kernels, functions, "join", joins)
    functions.append(kernels.write())
    return _entry("forward", functions, [*called, ("write", True)])


def _backward(kernels: CppKernels) -> tuple[list[str], str]:
    functions: list[str] = []
    called: list[tuple[str, bool]] = []
    if not kernels.plan.one_sweep_back:
        functions.append(kernels.totals())
        called.append(("total", True))
        called += _joins(kernels, functions, "join_back", list(enumerate(kernels.backward_joins, 1)))
    functions += [kernels.write_back(), kernels.sum_densities()]
    return _entry("backward", functions, [*called, ("write_back", True), ("sum_densities", False)])


def _joins(
    kernels: CppKernels, functions: list[str], prefix: str, joins: Sequence[tuple[int, Join]]
) -> list[tuple[str, bool]]:
    called = []
    for number, join in joins:
        functions.append(kernels.join(f"{prefix}_{number}", join))
        called.append((f"{prefix}_{number}", join.index_set is not IndexSet.BWH))
    return called


def _entry(name: str, functions: list[str], called: Sequence[tuple[str, bool]]) -> tuple[list[str], str]:
    """Adds functions that do for one sample what no statistic over the batch divides, and the entry that calls them."""
    goes: list[str] = []
    run: list[str] = []
    for function, each_sample in [*called, ("", False)]:
        if each_sample:
            run.append(f"    {function}(call, b);\n")
            continue
        if run:
            go = f"{name}_{len(goes) + 1}"
            functions.append(f"void {go}(const Call& call, i64 b) {{\n{''.join(run)}}}\n")
            goes.append(f"    over_samples({go}, *call, threads, {'true' if len(goes) else 'false'});\n")
            run = []
        if function:
            goes.append(f"    {function}(*call);\n")
    return functions, f'extern "C" void {name}(const Call* call, i64 threads) {{\n{"".join(goes)}}}\n'


def _call(pointers: Sequence[str]) -> str:
    fields = [f"T *{', *'.join(pointers)};", f"i64 {', '.join(COUNTS)};", f"double {', '.join(REALS)};"]
    return "\n    ".join(["struct Call {", *fields]) + "\n};\n"


@cache
def _runner() -> str:
    return (Path(__file__).parent / "runner.h").read_text()
