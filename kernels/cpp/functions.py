"""Writes the kernels of a plan in C++: sweeps over the planes of a sample, and reductions across planes.

Each kernel of the Triton version is a function here. Functions are called one after another for the same sample, so
that each finds in the processor's cache what the one before left there. Only a reduction over the batch has to wait for
all samples.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from evonas.kernels.cpp.access import read_expression, write_statement
from evonas.kernels.cpp.dialect import CPP, CPP_VECTORS
from evonas.kernels.cpp.loops import MemoryLayout, Rows, Section, Tiles, function, loops
from evonas.kernels.plan.plan import Plan, SweptValue
from evonas.kernels.plan.schedule import PlaneReduction, Step, StepKind
from evonas.kernels.printing.buffer_layout import cell_index
from evonas.kernels.printing.buffers import CELL_NAMES, Buffers
from evonas.kernels.printing.value_writer import Body, Level
from evonas.language.graph import X
from evonas.language.primitive_table import IndexSet
from evonas.language.varying_axes import Extent


class CppKernels(Buffers):
    """Writes the C++ functions of a layer.

    Args:
        plan, running: as for `Buffers`.
        layout: the memory layout of the input.
    """

    def __init__(self, plan: Plan, running: dict[int, str], layout: MemoryLayout = MemoryLayout.PLANES) -> None:
        super().__init__(plan, running)
        self.layout = layout
        self.dialect = CPP_VECTORS if layout.of_channels else CPP

    def source(self, step: Step) -> str:
        """The function of a step of the plan."""
        match step.kind:
            case StepKind.SWEEP:
                with_variances = bool(step.swept[0].variance)
                return (self._sweep if with_variances else self._totals)(step.name, step.swept)
            case StepKind.WRITE:
                return self._write(step.name)
            case StepKind.WRITE_BACK:
                return self._write_back(step.name, step.swept)
        assert step.reduction is not None  # no other kind is left
        if step.spans_batch:
            return self._over_batch(step.name, step.reduction)
        return self._over_cells(step.name, step.reduction)

    def _sweep(self, name: str, swept: Sequence[SweptValue]) -> str:
        """A sweep of the forward pass: for each plane means, and then variances from the means."""
        body = self._prepared([s.value for s in swept])
        means = self._tiles(body, sums=swept)
        middle = Rows([f"const auto {self.leaf(s.mean)} = {_total(self.leaf(s.mean))} / T(HW);" for s in swept])
        inner = self._inner(body)
        deviations = {}
        for one, value in zip(swept, inner.values([s.value for s in swept]), strict=True):
            deviations[_total(self.leaf(one.variance))] = f"square({_bracketed(value)} - {self.leaf(one.mean)})"
        squares = Tiles(_flat(inner), {"x": "x_ptr"}, deviations)
        last = []
        for one in swept:
            mean, variance = self.leaf(one.mean), self.leaf(one.variance)
            last.append(self._writes(one.mean, mean))
            last.append(self._writes(one.variance, f"{_total(variance)} / T(HW)"))
        return self._loops(name, [Rows(_flat(body)), means, middle, squares, Rows(last)])

    def _write(self, name: str) -> str:
        """The sweep that writes y."""
        body = self._prepared([self.plan.output])
        for vector in ("weight", "bias"):
            body.line(f"const auto {vector} = {read_expression(f'{vector}_ptr', 'c', self.dialect)};")
        inner = self._inner(body)
        (value,) = inner.values([self.plan.output])
        tiles = Tiles(_flat(inner), {"x": "x_ptr"}, stores={"y_ptr": f"{_bracketed(value)} * weight + bias"})
        return self._loops(name, [Rows(_flat(body)), tiles])

    def _totals(self, name: str, swept: Sequence[SweptValue]) -> str:
        """The reduction sweep of the backward pass, which finds means only."""
        body = self._prepared([s.value for s in swept])
        tiles = self._tiles(body, sums=swept)
        last = Rows([self._writes(s.mean, f"{_total(self.leaf(s.mean))} / T(HW)") for s in swept])
        return self._loops(name, [Rows(_flat(body)), tiles, last])

    def _write_back(self, function_name: str, fused: Sequence[SweptValue]) -> str:
        """The sweep that writes dx and the gradients of the parameters, summed over each plane.

        Args:
            function_name: the name of the function.
            fused: the totals, if dx depends on none of them, so that this sweep finds them on the way.
        """
        plan = self.plan
        tiled = [plan.dx, *(s.value for s in fused)]
        body = self._prepared(tiled, [*tiled, *plan.densities.values()], without={s.mean for s in fused})
        tiles = self._tiles(body, sums=fused, dx=True)
        last = body.inner()
        for one in fused:
            name = self.leaf(one.mean)
            last.line(f"const auto {name} = {_total(name)} / T(HW);")
            last.name(one.mean, name, Level.ROW)
        last.rows(plan.densities.values())
        for row, node in enumerate(plan.densities.values()):
            value = f"{_bracketed(last.row(node))} * T(HW)"
            last.line(write_statement(f"densities_ptr + {row} * planes", "plane", value, self.dialect))
        return self._loops(function_name, [Rows(_flat(body)), tiles, Rows(_flat(last))])

    def sum_densities(self) -> str:
        """The function that sums the gradients of the parameters over the samples, in their order."""
        lines = [f"for (i64 k = 0; k < {len(self.densities)}; ++k)", "    for (i64 c = 0; c < C; c += W) {"]
        lines += ["        const i64 left = C - c;", "        D sum = {};", "        for (i64 b = 0; b < B; ++b)"]
        lines += ["            sum += wide(load(densities_ptr + k * planes + b * C + c, left));"]
        lines += ["        store(gradients_ptr + k * C + c, narrow(sum), left);", "    }"]
        return function("sum_densities", lines, "const Call& call")

    def _over_cells(self, name: str, reduction: PlaneReduction) -> str:
        """A reduction across the planes of one sample."""
        grouped = reduction.index_set is IndexSet.WHCG
        lines = ["for (i64 g = 0; g < G; ++g) {"] if grouped else ["{"]
        lines.append(f"    const i64 width = C{' / G' if grouped else ''}, start = {'g * width' if grouped else '0'};")
        body = Body(self.plan, CPP)
        for node in reduction.nodes:
            inner, argument = body.inner(), self.reduced(node)
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh(f"{CELL_NAMES[reduction.index_set]}_mean")
            lines += [f"    double {mean}_sum = 0;", "    for (i64 c = start; c < start + width; ++c) {"]
            lines += ["        const i64 plane = b * C + c;", *("        " + line for line in _flat(inner))]
            lines += [f"        {mean}_sum += {inner.row(argument)};", "    }"]
            lines.append(f"    const T {mean} = T({mean}_sum / width);")
            index = cell_index(self.plan.extents[node])
            lines.append("    " + write_statement(self.address(node), index, mean, CPP))
            body.name(node, mean, Level.SCALAR)
        return function(name, [*lines, "}"])

    def _over_batch(self, name: str, reduction: PlaneReduction) -> str:
        """A reduction over the batch, and the update of running values.

        It processes W channels at a time whatever the memory format, since the numbers that it reads of a sample are
        adjacent.
        """
        lines = ["for (i64 c = 0; c < C; c += W) {", "    const i64 left = C - c;"]
        body = Body(self.plan, CPP_VECTORS)
        for node in reduction.nodes:
            inner, argument = body.inner(), self.reduced(node)
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh("batch_mean")
            lines += [f"    D {mean}_sum = {{}};", "    for (i64 b = 0; b < B; ++b) {"]
            lines += ["        const i64 plane = b * C + c;", *("        " + line for line in _flat(inner))]
            lines += [f"        {mean}_sum += wide({inner.row(argument)});", "    }"]
            lines.append(f"    const V {mean} = narrow({mean}_sum / double(B));")
            index = _index_over_batch(self.plan.extents[node])
            lines.append("    " + write_statement(self.address(node), index, mean, CPP_VECTORS))
            body.name(node, mean, Level.ROW)
        if reduction.running:
            lines.append("    const i64 b = 0, plane = c;")
            for node in reduction.running:
                lines += ["    " + line for line in self._update(body, node)]
        return function(name, [*lines, "}"], "const Call& call")

    def _update(self, body: Body, node: int) -> list[str]:
        """The lines that update the running value of a statistic over the batch."""
        raw = body.statistics[node].raw
        assert raw is not None  # as it is in training
        start = len(body.lines)
        self._load(body, [raw])
        body.rows([raw])
        address = f"{self.running[node]}_ptr"
        old = read_expression(address, "c", CPP_VECTORS)
        value = self.updated_running_value(node, old, _bracketed(body.row(raw)), "1")
        return [*(s.strip() for s in body.lines[start:]), write_statement(address, "c", value, CPP_VECTORS)]

    def _prepared(self, tiled: Sequence[int], loaded: Sequence[int] = (), without: Collection[int] = ()) -> Body:
        """A body that has loaded and computed the numbers of planes that tiles need."""
        body = Body(self.plan, self.dialect)
        self._load(body, loaded or tiled, without)
        body.rows(tiled)
        return body

    def _inner(self, body: Body, reads_dy: bool = False) -> Body:
        inner = body.inner()
        inner.in_tiles = True
        inner.name(X, "x", Level.TILE)
        if reads_dy:
            inner.name(self.dy, "dy", Level.TILE)
        return inner

    def _tiles(self, body: Body, sums: Sequence[SweptValue], dx: bool = False) -> Tiles:
        """The loop over positions that sums some values and, with `dx`, stores dx."""
        reads_dy = dx or not (sums and sums[0].variance)
        inner = self._inner(body, reads_dy)
        wanted = [*([self.plan.dx] if dx else []), *(s.value for s in sums)]
        values = inner.values(wanted)
        stores = {"dx_ptr": values.pop(0)} if dx else {}
        totals = {_total(self.leaf(s.mean)): value for s, value in zip(sums, values, strict=True)}
        return Tiles(_flat(inner), {"x": "x_ptr", **({"dy": "dy_ptr"} if reads_dy else {})}, totals, stores)

    def _load(self, body: Body, wanted: Sequence[int], without: Collection[int] = ()) -> None:
        """Loads the leaves that are constant on planes and that some nodes depend on, except those of `without`."""
        for number in body.reached(wanted):
            if self.plan.varies_in_sweep(number) or number in without:
                continue
            name = body.fresh(self.leaf(number))
            value = read_expression(self.address(number), self.index(number), body.dialect)
            if self.is_rooted_when_loaded(number):
                value = f"square_root({value} + eps)"
            body.line(f"const auto {name} = {value};")
            body.name(number, name, Level.ROW)

    def _writes(self, number: int, value: str) -> str:
        return write_statement(self.address(number), self.index(number), value, self.dialect)

    def _loops(self, name: str, sections: Sequence[Section]) -> str:
        return loops(name, sections, self.layout)


def _total(leaf: str) -> str:
    return f"{leaf}_sum"


def _bracketed(text: str) -> str:
    return text if re.fullmatch(r"\w+(\([^()]*\))?", text) else f"({text})"


def _index_over_batch(extent: Extent) -> str:
    """The index of a value that does not vary over the batch, for channels `c`."""
    if extent & Extent.CHANNEL == Extent.CHANNEL:
        return "c"
    return "c // (C // G)" if extent & Extent.GROUP else "0"


def _flat(body: Body) -> list[str]:
    return [line.strip() for line in body.lines]
