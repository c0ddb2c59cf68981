"""Writes the Triton part of an exported file: a layer's kernels, and the functions that run them in order.

The kernels are those that `evonas.kernels.triton.module` writes, for training and, if the layer has batch statistics,
for evaluation, or those that go row by row (`evonas.kernels.triton.rows`). The functions that run them are
straight-line code, with one call for each kernel.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from evonas.kernels.export.copy_definitions import top_level_definitions, used_definitions
from evonas.kernels.export.row_passes import RowPasses
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.printing.buffer_layout import BufferLayout
from evonas.kernels.printing.docstring import WIDTH
from evonas.kernels.triton.module import kernels_text
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.steps import KernelPass, KernelStep, backward_pass, forward_pass
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.language.axes import Extent
from evonas.language.graph import Graph
from evonas.layers.backend_choice import LONGEST_ROW
from evonas.layers.running_values import running_names

_PASSES = "PASSES"
_RUNS = "runs_kernels(x, self.backend)"
_FILES = ("export/exported_kernels.py", "triton/tiles.py")
NAMES = frozenset(name for file in (*_FILES, "triton/helpers.py") for name in top_level_definitions(file))
"""The names that the copied text defines."""
IMPORTS = """
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

try:  # without Triton, or a GPU, PyTorch computes the layer
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None
"""
"""The imports of a file with kernels."""
_SIZES = {
    "planes": "shape.b * shape.c",
    "B * G": "shape.b * shape.groups",
    "C": "shape.c",
    "B": "shape.b",
    "G": "shape.groups",
    "1": "1",
}
_TITLE = """
# From here on: the layer as Triton kernels, forward and backward, and what runs them.
"""
_CHOICE = """
    def _by_kernels(self, x: Tensor) -> Tensor:
        \"\"\"The layer by its Triton kernels.\"\"\"
        {laid_out}
        b, c, h, w = x.shape
        shape = Shape(b, c, h * w, {groups}, {channels_last})
        weight = x.new_ones(c) if self.weight is None else self.weight
        bias = x.new_zeros(c) if self.bias is None else self.bias
        given = {{{given}}}
        names = ({names})
{scalars}{apply}
{update}"""


@dataclass(frozen=True, slots=True)
class KernelSource:
    """The parts of a file that belong to kernels.

    Attributes:
        condition: the expression for whether kernels compute the layer for `x`.
        value: the expression for what they compute.
        method: the method of the layer's class that computes it by kernels.
        text: everything else, which follows the class.
    """

    condition: str
    value: str
    method: str
    text: str


def kernel_source(graph: Graph) -> KernelSource:
    """The parts of an exported file for the kernels of a layer."""
    running = running_names(graph)
    rows = None if PlanKind.PLANES in kinds_of(graph) else RowPasses(graph)
    modes: list[_Mode | RowPasses] = [rows or _Mode(graph, True, "")]
    modes += [_Mode(graph, False, "_evaluation")] if running else []
    own = [part for mode in modes for part in (mode.kernels, *mode.functions())]
    method = _method(graph, list(running.values()), "\n".join(own), rows)
    known = {name: text for file in _FILES for name, text in top_level_definitions(file).items()}
    used = used_definitions(known, "\n\n".join(["jit, Passes, runs_kernels", *own, textwrap.dedent(method)]))
    helpers = top_level_definitions("triton/helpers.py")
    helping = [helpers[name] for name in used_definitions(helpers, "\n\n".join(own))]
    tail = [f"{_PASSES}{m.suffix.upper()} = Passes(forward_pass{m.suffix}, backward_pass{m.suffix})" for m in modes]
    # Kernels are written in the usual style of Triton, with longer lines than the rest of the file.
    copied = [known[name] for name in used]
    parts = [*copied, "# fmt: off", *helping, *(m.kernels for m in modes), "# fmt: on"]
    parts += [function for mode in modes for function in mode.functions()]
    text = "\n\n\n".join(part.strip("\n") for part in parts) + "\n\n\n" + "\n".join(tail)
    text = text.replace("# fmt: off\n\n\n", "# fmt: off\n").replace("\n\n\n# fmt: on", "\n# fmt: on")
    condition = f"self.channels <= {LONGEST_ROW} and {_RUNS}" if rows else _RUNS
    value = "laid_out_like(self._by_kernels(x), x)" if rows else "self._by_kernels(x)"
    return KernelSource(
        condition, value, method, _TITLE.strip("\n") + "\n\n\n" + text.replace("@triton.jit", "@jit") + "\n"
    )


class _Mode:
    """The kernels of a layer in training or in evaluation, and the functions that run them."""

    def __init__(self, graph: Graph, training: bool, suffix: str) -> None:
        running = running_names(graph)
        plan = plan_of(graph, training)
        self.suffix = suffix
        self.streaming, on_chip = StreamingKernels(plan, running), OnChipKernels(plan, running)
        text = kernels_text(self.streaming, on_chip)
        self.kernels = re.sub(r"^def (\w+)\(", rf"def \1{suffix}(", text, flags=re.M)
        self._passes = forward_pass(self.streaming, on_chip), backward_pass(self.streaming, on_chip)

    def functions(self) -> tuple[str, str]:
        """The sources of the functions that run the forward and the backward pass."""
        forward, backward = self._passes
        kernels = self.streaming
        ahead = [
            f"def forward_pass{self.suffix}(x: Tensor, shape: Shape, given: Given) -> tuple[Tensor, Tensor]:",
            '    """The layer\'s value, and the numbers of planes that its backward pass needs."""',
            "    y = torch.empty_like(x)",
            *_buffer("stats", _size(kernels.stats)),
            '    given = {**given, "x_ptr": x, "y_ptr": y, "stats_ptr": stats}',
            *self._launches(forward),
            "    return y, stats",
        ]
        count = len(kernels.densities)
        names = ", ".join(f'"{name}"' for name in kernels.densities)
        buffers = ['"dy_ptr": dy', '"dx_ptr": dx', '"x_ptr": x', '"stats_ptr": stats']
        back = [
            f"def backward_pass{self.suffix}(",
            "    dy: Tensor, x: Tensor, stats: Tensor, shape: Shape, given: Given",
            ") -> tuple[Tensor, dict[str, Tensor]]:",
            '    """The gradient of x, and those of the parameters by name."""',
            "    dx = torch.empty_like(x)",
            *_buffer("totals", _size(kernels.sums)),
            *self._rows(backward),
            f"    sums = x.new_empty(({count}, rows, shape.c), dtype=torch.float32)",
            f"    given = {{**given, {', '.join(buffers)}}}",
            '    given |= {"totals_ptr": totals, "densities_ptr": sums}',
            *self._launches(backward),
            f"    return dx, dict(zip(({names}), sums.sum(1), strict=True))",
        ]
        return "\n".join(ahead), "\n".join(back)

    def _rows(self, backward: KernelPass) -> list[str]:
        """The lines that find the number of partial sums of each channel for each parameter."""
        if not self.streaming.plan.one_sweep_back:
            return ["    rows = shape.b"]
        return [f"    (_, pieces), _ = {_grid(backward.steps[-1])}", "    rows = shape.b * pieces"]

    def _launches(self, one: KernelPass) -> Iterator[str]:
        if one.on_chip is None:
            yield from (self._launch(step, "    ") for step in one.steps)
            return
        yield f"    whole = {_grid(one.on_chip)}"
        yield f"    if fits(whole, shape.channels_last, {one.backward}):"
        yield f"        launch({one.on_chip.kernel}{self.suffix}, whole, given)"
        yield "    else:"
        yield from (self._launch(step, "        ") for step in one.steps)

    def _launch(self, step: KernelStep, indent: str) -> str:
        kernel, grid = f"{step.kernel}{self.suffix}", _grid(step)
        if step.merge is not None:
            names = [kernel, f"{step.merge}{self.suffix}", grid, str(step.buffer), str(step.per_plane), "given"]
            line, inner = f"{indent}launch_shared({', '.join(names)})", f"{indent}    {', '.join(names)}"
            if len(line) <= WIDTH:
                return line
            if len(inner) > WIDTH:
                inner = "\n".join(f"{indent}    {name}," for name in names)
            return f"{indent}launch_shared(\n{inner}\n{indent})"
        return f"{indent}launch({kernel}, {grid}, given)"


def _method(graph: Graph, running: list[str], kernels: str, rows: RowPasses | None) -> str:
    vectors = [leaf.name for leaf in graph.parameters]
    # Kernels take a scalar as a vector that repeats it, whose gradient PyTorch sums.
    scalars = [leaf.name for leaf in graph.parameters if leaf.extent is Extent.NONE]
    passed = ["weight", "bias", *(name if name in scalars else f"self.{name}" for name in vectors)]
    passes = "passes" if running else _PASSES
    arguments = ", ".join(["x", passes, "shape", "given", "names", *passed])
    assign = f"passes = {_PASSES} if self.training else {_PASSES}_EVALUATION\n        y = " if running else "return "
    start = f"        {assign}ByKernels.apply("
    long = len(f"{start.splitlines()[-1]}{arguments})") > WIDTH
    used = set(re.findall(r"\w+", " ".join(re.findall(r"^def \w+\((.*?)\):", kernels, re.M | re.S))))
    given = ["**shape.numbers()", *(f'"{s}": self.{s}' for s in ("eps", "momentum") if s in used)]
    given += [f'"{name}_ptr": self.{name}' for name in running]
    inner = ", ".join(given)
    if len(inner) > 72:
        inner = "\n" + "".join(f"            {one},\n" for one in given) + "        "
    named = ", ".join(f'"{name}"' for name in ("weight", "bias", *vectors))
    update = "        if self.training:  # kernels wrote to them, which autograd does not see\n"
    update += "".join(f"            torch.autograd.graph.increment_version(self.{name})\n" for name in running)
    update += "        return y\n"
    needs_groups = rows.in_groups if rows else "G" in used
    return _CHOICE.format(
        laid_out="x = x.contiguous(memory_format=torch.channels_last)" if rows else "x = laid_out_like(x, x)",
        groups="self.groups" if needs_groups else "1",
        channels_last="True" if rows else "not x.is_contiguous()",
        given=inner,
        names=named,
        scalars="".join(f"        {name} = self.{name}.expand(c).contiguous()\n" for name in scalars),
        apply=f"{start}\n            {arguments}\n        )" if long else f"{start}{arguments})",
        update=update if running else "",
    )


def _buffer(name: str, size: str) -> list[str]:
    line = f"    {name} = x.new_empty({size}, dtype=torch.float32)"
    return (
        [line] if len(line) <= WIDTH else [f"    size = {size}", f"    {name} = x.new_empty(size, dtype=torch.float32)"]
    )


def _grid(step: KernelStep) -> str:
    settings = (f'"{one}"' if isinstance(one, str) else str(one) for one in step.settings)
    return f"{step.division}({', '.join(['shape', *settings])})"


def _size(layout: BufferLayout) -> str:
    """The size of a buffer in numbers, as an expression."""
    terms = []
    for kind, count in layout.counts().items():
        size = _SIZES[kind]
        terms.append(str(count) if size == "1" else f"{count} * {size}" if count > 1 else size)
    return " + ".join(terms) or "0"
