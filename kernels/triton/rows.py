"""Writes a plan of rows in Triton: one kernel for each pass, in which a program holds whole rows in registers.

A tile has R rows and BLOCK channels. With statistics over groups alone a row is one group of a position, and the second
axis of the grid counts groups. With statistics of both kinds a tile is one position, its R rows are the groups, and a
mean over the whole tile is one over the channels.

The forward pass reads x and writes y once. In the backward pass a fixed number of programs goes over the rows, whatever
the GPU, and each sums its share of the parameters' gradients into a row of its own. The number of channels is a
constant of a kernel: otherwise Triton would not know how addresses are aligned, would load values one by one, and would
run out of registers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from evonas.kernels.plan.rows import ROW_MEAN, RowPass, RowPlan
from evonas.kernels.plan.walk import in_order
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.dialect import TRITON
from evonas.kernels.triton.kernel_parts import kernel
from evonas.language.axes import Extent
from evonas.language.differentiate import DY
from evonas.language.graph import FIRST, X

_MANY = 24
_CONSTANTS = ("CHANNELS", "WIDTH", "R", "BLOCK")


class RowKernels:
    """Writes the kernels of a layer.

    Args:
        plan: the plan of the layer.

    Attributes:
        densities: the names of the parameters, in the order of their sums.
        holds_groups: whether a tile is one position, whose groups are its rows.
        kind: how rows are divided, as `evonas.kernels.triton.tiles.over_rows` takes it.
        heavy: whether the backward pass computes so many tiles, all of which take registers, that they must be small.
    """

    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.densities = tuple(plan.backward.summed)
        wanted = [plan.backward.written, *plan.backward.summed.values()]
        means = [n for sweep in plan.backward.sweeps for n in sweep]
        below = in_order([*wanted, *(plan.nodes[n - FIRST].args[0] for n in means)], plan.arguments)
        self.heavy = sum(plan.varies_in_sweep(n) for n in below) > _MANY
        self.holds_groups = not plan.is_uniform
        self.kind = "rows of groups" if self.holds_groups else "groups" if plan.has_groups else "rows"

    def texts(self, adds: bool) -> list[str]:
        """The kernels of both passes, with a residual if asked for."""
        return [self.forward(adds), self.backward(adds)]

    def forward(self, adds: bool = False) -> str:
        """The kernel that writes y; if asked for, that of x + residual, which it writes too, at r."""
        body = Body(self.plan, TRITON)
        body.line("first = tl.program_id(0)" if self.holds_groups else "first = tl.program_id(0) * R")
        self._channels(body)
        self._parameters(body, [self.plan.forward.written])
        for name in ("weight", "bias"):
            body.line(self._vector(name))
        self._rows(body, "row_count", reads_dy=False, adds=adds)
        self._sweeps(body, self.plan.forward)
        body.rows([self.plan.forward.written])
        (value,) = body.values([self.plan.forward.written])
        body.line(f"y = ({value}) * weight + bias + tl.zeros([R, BLOCK], tl.float32)")
        body.line("tl.store(y_ptr + start + at, y.to(y_ptr.dtype.element_ty), mask=inside)")
        return kernel("forward_rows_of_sum" if adds else "forward_rows", body, *_CONSTANTS)

    def backward(self, adds: bool = False) -> str:
        """The kernel that writes dx, and each program's sums of the parameters' gradients.

        If asked for, it adds dr to dx, the gradient of a sum that is used beside the layer.
        """
        body, one = Body(self.plan, TRITON), self.plan.backward
        wanted = [one.written, *one.summed.values()]
        body.line("part = tl.program_id(0)")
        body.line("last = tl.minimum((part + 1) * rows_each, row_count)")
        self._channels(body)
        self._parameters(body, wanted)
        for name in self.densities:
            body.line(f"sum_{name} = tl.zeros([R, BLOCK], tl.float32)")
        body.line(f"for first in range(part * rows_each, last, {'1' if self.holds_groups else 'R'}):")
        inner = body.inner()
        self._rows(inner, "last", reads_dy=True)
        self._sweeps(inner, one)
        inner.rows(wanted)
        dx, *gradients = inner.values(wanted)
        inner.line(f"dx = {dx} + tl.zeros([R, BLOCK], tl.float32)")
        if adds:
            inner.line("dx += tl.load(dr_ptr + start + at, mask=inside, other=0.0).to(tl.float32)")
        inner.line("tl.store(dx_ptr + start + at, dx.to(dx_ptr.dtype.element_ty), mask=inside)")
        for name, gradient in zip(self.densities, gradients, strict=True):
            inner.line(f"sum_{name} += tl.where(inside, {gradient}, 0.0)")
        body.lines += inner.lines
        for place, name in enumerate(self.densities):
            to = f"parts_ptr + (part * {len(self.densities)} + {place}) * CHANNELS + channel"
            total = f"sum_{name}" if self.holds_groups else f"tl.sum(sum_{name}, 0)"
            body.line(f"tl.store({to}, {total}, mask=real)")
        return kernel("backward_rows_of_sum" if adds else "backward_rows", body, *_CONSTANTS)

    def _channels(self, body: Body) -> None:
        body.line("k = tl.arange(0, BLOCK)")
        if self.holds_groups:
            body.line("group = tl.arange(0, R)")
            body.line("channel = group[:, None] * WIDTH + k[None, :]")
            body.line("real = (group < CHANNELS // WIDTH)[:, None] & (k < WIDTH)[None, :]")
        else:
            body.line("channel = tl.program_id(1) * WIDTH + k" if self.plan.has_groups else "channel = k")
            body.line("real = k < WIDTH")

    def _vector(self, name: str) -> str:
        """The line that loads a parameter of every channel."""
        beside_rows = "" if self.holds_groups else "[None, :]"
        return f"{name} = tl.load({name}_ptr + channel, mask=real, other=0.0).to(tl.float32){beside_rows}"

    def _parameters(self, body: Body, wanted: Iterable[int]) -> None:
        """Loads the parameters that some nodes, and the means below them, depend on."""
        for number in self._leaves(wanted):
            name = self.plan.name_of(number)
            if self.plan.extents[number] & Extent.CHANNEL:
                body.line(self._vector(name))
                body.name(number, name, Level.TILE)
            else:
                body.line(f"{name} = tl.load({name}_ptr).to(tl.float32)")
                body.name(number, name, Level.SCALAR)

    def _rows(self, body: Body, end: str, reads_dy: bool, adds: bool = False) -> None:
        """Loads the rows of a program from `first` on, those of x + residual if asked for."""
        body.line("start = (first + tl.full([], 0, tl.int64)) * CHANNELS")  # 64 bits once, and 32 for each value
        if self.holds_groups:
            body.line("inside = real")
            body.line("at = channel")
        else:
            body.line("r = tl.arange(0, R)")
            body.line(f"inside = (first + r < {end})[:, None] & real[None, :]")
            body.line("at = r[:, None] * CHANNELS + channel[None, :]")
        body.line("x = tl.load(x_ptr + start + at, mask=inside, other=0.0).to(tl.float32)")
        if adds:
            body.line("x += tl.load(residual_ptr + start + at, mask=inside, other=0.0).to(tl.float32)")
            body.line("r_in_memory = x.to(r_ptr.dtype.element_ty)")  # what the backward pass will read
            body.line("tl.store(r_ptr + start + at, r_in_memory, mask=inside)")
            body.line("x = r_in_memory.to(tl.float32)")
        body.name(X, "x", Level.TILE)
        if reads_dy:
            body.line("dy = tl.load(dy_ptr + start + at, mask=inside, other=0.0).to(tl.float32)")
            body.name(next(n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY), "dy", Level.TILE)

    def _sweeps(self, body: Body, one: RowPass) -> None:
        """Finds the means of a pass, of values that are in registers."""
        for sweep in one.sweeps:
            arguments = [self.plan.nodes[mean - FIRST].args[0] for mean in sweep]
            body.rows(arguments)
            values = body.values(arguments)
            for mean, value in zip(sweep, values, strict=True):
                name = body.fresh("row_mean")
                if self.holds_groups and self.plan.nodes[mean - FIRST].op == ROW_MEAN:
                    body.line(f"{name} = tl.sum(tl.where(inside, {value}, 0.0)) / CHANNELS")
                    body.name(mean, name, Level.SCALAR)
                else:
                    body.line(f"{name} = tl.sum(tl.where(inside, {value}, 0.0), 1) / WIDTH")
                    body.name(mean, name, Level.ROW)

    def _leaves(self, wanted: Iterable[int]) -> list[int]:
        """The parameters, the weight among them, that some nodes and the means below them depend on, in order."""
        nodes, plan = self.plan.nodes, self.plan
        below = in_order(wanted, lambda n: () if n < FIRST else nodes[n - FIRST].args)
        return sorted(n for n in below if plan.is_loaded(n) and n != X and plan.name_of(n) != DY)


def rows_in_triton(kernels: RowKernels) -> str:
    """The text of the file with the kernels of a layer: of both passes, without and with a residual."""
    body = "\n\n".join([*kernels.texts(adds=False), *kernels.texts(adds=True)])
    called = ", ".join(name for name in TRITON.reserved if re.search(rf"\b{name}\(", body))
    imports = ["import triton", "import triton.language as tl"]
    imports += ["", f"from evonas.kernels.triton.helpers import {called}"] if called else []
    # Expressions consist of names, numbers and operators only, so they cannot end a docstring.
    header = f'"""y = weight * f(x) + bias, row by row, with\n\n    f(x) = {kernels.plan.graph.written()}\n"""\n'
    return "\n".join([header, *imports, "", "", body])
