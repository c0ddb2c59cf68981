"""The kernels of a plan as C++: sweeps and writing over the planes of a sample, joins over cells.

What Triton does in kernels of its own is a function here, called for one sample after the other, so that what one
leaves in the cache the next one finds there; only statistics over the batch stand between two goes over the samples.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from evonas.kernels.cpp.access import read, write
from evonas.kernels.cpp.loops import MemoryLayout, Rows, Section, Tiles, function, loops
from evonas.kernels.plan.plan import Plan, Taken
from evonas.kernels.plan.schedule import Join
from evonas.kernels.printing.buffers import JOINED, Buffers
from evonas.kernels.printing.dialects import CPP, CPP_VECTORS
from evonas.kernels.printing.value_writer import Body, Level
from evonas.language.differentiate import DY
from evonas.language.graph import FIRST, X
from evonas.language.primitive_table import IndexSet, Moment
from evonas.language.varying_axes import Extent


class CppKernels(Buffers):
    """Writes them.

    Args:
        plan, running: as for `Buffers`.
        layout: of the input.
    """

    def __init__(self, plan: Plan, running: dict[int, str], layout: MemoryLayout = MemoryLayout.PLANES) -> None:
        super().__init__(plan, running)
        self.layout = layout
        self.dialect = CPP_VECTORS if layout.of_channels else CPP

    def sweep(self, number: int) -> str:
        """One sweep before the one that writes: means, then variances from the means, plane by plane."""
        taken = self.plan.sweeps[number - 1]
        body = self._prepared([t.value for t in taken])
        means = self._tiles(body, sums=taken)
        middle = Rows([f"const auto {self.leaf(t.mean)} = {_total(self.leaf(t.mean))} / T(HW);" for t in taken])
        inner = self._inner(body)
        deviations = {}
        for one, value in zip(taken, inner.values([t.value for t in taken]), strict=True):
            deviations[_total(self.leaf(one.variance))] = f"square({_bracketed(value)} - {self.leaf(one.mean)})"
        squares = Tiles(_flat(inner), {"x": "x_ptr"}, deviations)
        last = []
        for one in taken:
            mean, variance = self.leaf(one.mean), self.leaf(one.variance)
            last.append(self._writes(one.mean, mean))
            last.append(self._writes(one.variance, f"{_total(variance)} / T(HW)"))
        return self._loops(f"sweep_{number}", [Rows(_flat(body)), means, middle, squares, Rows(last)])

    def write(self) -> str:
        """What writes y."""
        body = self._prepared([self.plan.output])
        for name in ("weight", "bias"):
            body.line(f"const auto {name} = {read(f'{name}_ptr', 'c', self.dialect)};")
        inner = self._inner(body)
        (value,) = inner.values([self.plan.output])
        tiles = Tiles(_flat(inner), {"x": "x_ptr"}, stores={"y_ptr": f"{_bracketed(value)} * weight + bias"})
        return self._loops("write", [Rows(_flat(body)), tiles])

    def totals(self) -> str:
        """The reduction sweep of the backward pass."""
        taken = self.plan.totals
        body = self._prepared([t.value for t in taken])
        tiles = self._tiles(body, sums=taken)
        last = Rows([self._writes(t.mean, f"{_total(self.leaf(t.mean))} / T(HW)") for t in taken])
        return self._loops("total", [Rows(_flat(body)), tiles, last])

    def write_back(self) -> str:
        """What writes dx and the sums of the parameters' gradients over each plane.

        Where dx depends on no total, it takes the totals too.
        """
        plan = self.plan
        fused = plan.totals if plan.one_sweep_back else ()
        tiled = [plan.dx, *(t.value for t in fused)]
        body = self._prepared(tiled, [*tiled, *plan.densities.values()], without={t.mean for t in fused})
        tiles = self._tiles(body, sums=fused, dx=True)
        last = body.inner()
        for one in fused:
            name = self.leaf(one.mean)
            last.line(f"const auto {name} = {_total(name)} / T(HW);")
            last.name(one.mean, name, Level.ROW)
        last.rows(plan.densities.values())
        for row, node in enumerate(plan.densities.values()):
            value = f"{_bracketed(last.row(node))} * T(HW)"
            last.line(write(f"densities_ptr + {row} * planes", "plane", value, self.dialect))
        return self._loops("write_back", [Rows(_flat(body)), tiles, Rows(_flat(last))])

    def join(self, name: str, join: Join) -> str:
        """What joins planes: within the sample b, or over the batch."""
        return self._over_batch(name, join) if join.index_set is IndexSet.BWH else self._over_cells(name, join)

    def sum_densities(self) -> str:
        """What adds up the parameters' gradients over the samples."""
        lines = [f"for (i64 k = 0; k < {len(self.densities)}; ++k)", "    for (i64 c = 0; c < C; c += W) {"]
        lines += ["        const i64 left = C - c;", "        D sum = {};", "        for (i64 b = 0; b < B; ++b)"]
        lines += ["            sum += wide(load(densities_ptr + k * planes + b * C + c, left));"]
        lines += ["        store(gradients_ptr + k * C + c, narrow(sum), left);", "    }"]
        return function("sum_densities", lines, "const Call& call")

    def _over_cells(self, name: str, join: Join) -> str:
        grouped = join.index_set is IndexSet.WHCG
        lines = ["for (i64 g = 0; g < G; ++g) {"] if grouped else ["{"]
        lines.append(f"    const i64 width = C{' / G' if grouped else ''}, start = {'g * width' if grouped else '0'};")
        body = Body(self.plan, CPP)
        for node in join.nodes:
            inner, argument = body.inner(), self._argument(node)
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh(f"{JOINED[join.index_set]}_mean")
            lines += [f"    double {mean}_sum = 0;", "    for (i64 c = start; c < start + width; ++c) {"]
            lines += ["        const i64 plane = b * C + c;", *("        " + line for line in _flat(inner))]
            lines += [f"        {mean}_sum += {inner.row(argument)};", "    }"]
            at = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
            lines.append(f"    const T {mean} = T({mean}_sum / width);")
            lines.append("    " + write(self.address(node), at.get(self.plan.extents[node], "0"), mean, CPP))
            body.name(node, mean, Level.SCALAR)
        return function(name, [*lines, "}"])

    def _over_batch(self, name: str, join: Join) -> str:
        """W channels at a time, whatever the memory format: what is read of a sample lies side by side."""
        lines = ["for (i64 c = 0; c < C; c += W) {", "    const i64 left = C - c;"]
        body = Body(self.plan, CPP_VECTORS)
        for node in join.nodes:
            inner, argument = body.inner(), self._argument(node)
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh("batch_mean")
            lines += [f"    D {mean}_sum = {{}};", "    for (i64 b = 0; b < B; ++b) {"]
            lines += ["        const i64 plane = b * C + c;", *("        " + line for line in _flat(inner))]
            lines += [f"        {mean}_sum += wide({inner.row(argument)});", "    }"]
            lines.append(f"    const V {mean} = narrow({mean}_sum / double(B));")
            lines.append("    " + write(self.address(node), _of_channels(self.plan.extents[node]), mean, CPP_VECTORS))
            body.name(node, mean, Level.ROW)
        if join.running:
            lines.append("    const i64 b = 0, plane = c;")
            for node in join.running:
                lines += ["    " + line for line in self._update(body, node)]
        return function(name, [*lines, "}"], "const Call& call")

    def _update(self, body: Body, node: int) -> list[str]:
        """The running value of a statistic over the batch."""
        statistic = body.statistics[node]
        assert statistic.raw is not None  # in training
        start = len(body.lines)
        self._load(body, [statistic.raw])
        body.rows([statistic.raw])
        batch = _bracketed(body.row(statistic.raw)) + (" * unbias" if statistic.moment is Moment.STD else "")
        address = f"{self.running[node]}_ptr"
        value = f"(1 - momentum) * {read(address, 'c', CPP_VECTORS)} + momentum * {batch}"
        return [*(s.strip() for s in body.lines[start:]), write(address, "c", value, CPP_VECTORS)]

    def _prepared(self, tiled: Sequence[int], loaded: Sequence[int] = (), without: Collection[int] = ()) -> Body:
        """A body that has what tiles need of their planes."""
        body = Body(self.plan, self.dialect)
        self._load(body, loaded or tiled, without)
        body.rows(tiled)
        return body

    def _inner(self, body: Body, reads_dy: bool = False) -> Body:
        inner = body.inner()
        inner.in_tiles = True
        inner.name(X, "x", Level.TILE)
        if reads_dy:
            leaf = next(n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY)
            inner.name(leaf, "dy", Level.TILE)
        return inner

    def _tiles(self, body: Body, sums: Sequence[Taken], dx: bool = False) -> Tiles:
        reads_dy = dx or not (sums and sums[0].variance)
        inner = self._inner(body, reads_dy)
        wanted = [*([self.plan.dx] if dx else []), *(t.value for t in sums)]
        values = inner.values(wanted)
        stores = {"dx_ptr": values.pop(0)} if dx else {}
        totals = {_total(self.leaf(t.mean)): value for t, value in zip(sums, values, strict=True)}
        return Tiles(_flat(inner), {"x": "x_ptr", **({"dy": "dy_ptr"} if reads_dy else {})}, totals, stores)

    def _load(self, body: Body, wanted: Sequence[int], without: Collection[int] = ()) -> None:
        """Loads what some nodes depend on that is constant on planes."""
        for number in body.reached(wanted):
            if self.plan.varies(number) or number in without:
                continue
            name, value = body.fresh(self.leaf(number)), read(self.address(number), self.index(number), body.dialect)
            if number in body.statistics and body.statistics[number].moment is not Moment.MEAN:
                value = f"square_root({value} + eps)"  # a running value
            body.line(f"const auto {name} = {value};")
            body.name(number, name, Level.ROW)

    def _writes(self, number: int, value: str) -> str:
        return write(self.address(number), self.index(number), value, self.dialect)

    def _argument(self, node: int) -> int:
        return self.plan.nodes[node - FIRST].args[0]

    def _loops(self, name: str, sections: Sequence[Section]) -> str:
        return loops(name, sections, self.layout)


def _total(leaf: str) -> str:
    return f"{leaf}_sum"


def _bracketed(text: str) -> str:
    return text if re.fullmatch(r"\w+(\([^()]*\))?", text) else f"({text})"


def _of_channels(extent: Extent) -> str:
    """The index of a value that does not vary over the batch."""
    if extent & Extent.CHANNEL == Extent.CHANNEL:
        return "c"
    return "c // (C // G)" if extent & Extent.GROUP else "0"


def _flat(body: Body) -> list[str]:
    return [line.strip() for line in body.lines]
