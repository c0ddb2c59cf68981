"""The kernels of a plan as C++: sweeps and writing over the planes of a sample, joins over cells.

What Triton does in kernels of its own is a function here, called for one sample after the other, so that what one
leaves in the cache the next one finds there; only statistics over the batch stand between two goes over the samples.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from evonas.derive import DY
from evonas.extent import Extent
from evonas.graph import FIRST, X
from evonas.kernels.body import Body, Level
from evonas.kernels.buffers import JOINED, Buffers
from evonas.kernels.cpp_loops import Rows, Section, Tiles, function, loops
from evonas.kernels.dialects import CPP
from evonas.kernels.plan import Plan, Taken
from evonas.kernels.schedule import Join
from evonas.ops import IndexSet, Moment


class CppKernels(Buffers):
    """Writes them.

    Args:
        plan, running: as for `Buffers`.
        channels_last: whether neighbouring channels lie side by side, or neighbouring positions.
    """

    def __init__(self, plan: Plan, running: dict[int, str], channels_last: bool = False) -> None:
        super().__init__(plan, running)
        self.channels_last = channels_last

    def sweep(self, number: int) -> str:
        """One sweep before the one that writes: means, then variances from the means, plane by plane."""
        taken = self.plan.sweeps[number - 1]
        body = self._prepared([t.value for t in taken])
        means = self._tiles(body, sums=taken)
        middle = Rows([f"const T {self.leaf(t.mean)} = {_total(self.leaf(t.mean))} / HW;" for t in taken])
        inner = self._inner(body)
        deviations = {}
        for one, value in zip(taken, inner.values([t.value for t in taken]), strict=True):
            deviations[_total(self.leaf(one.variance))] = f"square({_bracketed(value)} - {self.leaf(one.mean)})"
        squares = Tiles(_flat(inner), {"x": "x_ptr"}, deviations)
        last = []
        for one in taken:
            mean, variance = self.leaf(one.mean), self.leaf(one.variance)
            last.append(f"{self._place(one.mean)} = {mean};")
            last.append(f"{self._place(one.variance)} = {_total(variance)} / HW;")
        return self._loops(f"sweep_{number}", [Rows(_flat(body)), means, middle, squares, Rows(last)])

    def write(self) -> str:
        """What writes y."""
        body = self._prepared([self.plan.output])
        body.line("const T weight = weight_ptr[c];")
        body.line("const T bias = bias_ptr[c];")
        inner = self._inner(body)
        (value,) = inner.values([self.plan.output])
        tiles = Tiles(_flat(inner), {"x": "x_ptr"}, stores={"y_ptr": f"{_bracketed(value)} * weight + bias"})
        return self._loops("write", [Rows(_flat(body)), tiles])

    def totals(self) -> str:
        """The reduction sweep of the backward pass."""
        taken = self.plan.totals
        body = self._prepared([t.value for t in taken])
        tiles = self._tiles(body, sums=taken)
        last = Rows([f"{self._place(t.mean)} = {_total(self.leaf(t.mean))} / HW;" for t in taken])
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
            last.line(f"const T {name} = {_total(name)} / HW;")
            last.name(one.mean, name, Level.ROW)
        last.rows(plan.densities.values())
        for row, node in enumerate(plan.densities.values()):
            last.line(f"densities_ptr[{row} * planes + plane] = {_bracketed(last.row(node))} * HW;")
        return self._loops("write_back", [Rows(_flat(body)), tiles, Rows(_flat(last))])

    def join(self, name: str, join: Join) -> str:
        """What joins planes: within the sample b, or over the batch."""
        return self._over_batch(name, join) if join.index_set is IndexSet.BWH else self._over_cells(name, join)

    def sum_densities(self) -> str:
        """What adds up the parameters' gradients over the samples."""
        lines = [f"for (i64 k = 0; k < {len(self.densities)}; ++k)", "    for (i64 c = 0; c < C; ++c) {"]
        lines += ["        double sum = 0;", "        for (i64 b = 0; b < B; ++b)"]
        lines += ["            sum += densities_ptr[k * planes + b * C + c];"]
        return function(
            "sum_densities", [*lines, "        gradients_ptr[k * C + c] = T(sum);", "    }"], "const Call& call"
        )

    def _over_cells(self, name: str, join: Join) -> str:
        grouped = join.index_set is IndexSet.WHCG
        lines = ["for (i64 g = 0; g < G; ++g) {"] if grouped else ["{"]
        lines.append(f"    const i64 width = C{' / G' if grouped else ''}, start = {'g * width' if grouped else '0'};")
        body = Body(self.plan, CPP)
        for node in join.nodes:
            inner = body.inner()
            argument = self._argument(node)
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh(f"{JOINED[join.index_set]}_mean")
            lines += [f"    double {mean}_sum = 0;", "    for (i64 c = start; c < start + width; ++c) {"]
            lines += ["        const i64 plane = b * C + c;", *("        " + line for line in _flat(inner))]
            lines += [f"        {mean}_sum += {inner.row(argument)};", "    }"]
            at = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
            index = at.get(self.plan.extents[node], "0")
            lines.append(f"    const T {mean} = T({mean}_sum / width);")
            lines.append(f"    {_element(self.address(node), index)} = {mean};")
            body.name(node, mean, Level.SCALAR)
        return function(name, [*lines, "}"])

    def _over_batch(self, name: str, join: Join) -> str:
        """R channels at a time, so that what is read of a sample lies side by side."""
        lines = ["for (i64 first = 0; first < C; first += R) {", "    const i64 n = C - first < R ? C - first : R;"]
        body, found = Body(self.plan, CPP), list[str]()
        for node in join.nodes:
            argument = self._argument(node)
            inner = body.inner()
            self._load(inner, [argument])
            inner.rows([argument])
            mean = body.fresh("batch_mean")
            known = [f"const T {other} = {other}_row[j];" for other in found]
            lines += [f"    double {mean}_sum[R] = {{}};", f"    T {mean}_row[R];", "    for (i64 b = 0; b < B; ++b)"]
            lines += [
                "        for (i64 j = 0; j < n; ++j) {",
                "            const i64 c = first + j, plane = b * C + c;",
            ]
            lines += ["            " + line for line in [*known, *_flat(inner)]]
            lines += [f"            {mean}_sum[j] += {inner.row(argument)};", "        }"]
            extent = self.plan.extents[node]
            index = (
                "c" if extent & Extent.CHANNEL == Extent.CHANNEL else "c / (C / G)" if extent & Extent.GROUP else "0"
            )
            lines += ["    for (i64 j = 0; j < n; ++j) {", "        const i64 c = first + j;"]
            lines += [f"        const T {mean} = {mean}_row[j] = T({mean}_sum[j] / B);"]
            lines += [f"        {_element(self.address(node), index)} = {mean};", "    }"]
            body.name(node, mean, Level.ROW)
            found.append(mean)
        if join.running:
            lines += ["    for (i64 j = 0; j < n; ++j) {", "        const i64 b = 0, c = first + j, plane = c;"]
            lines += [f"        const T {mean} = {mean}_row[j];" for mean in found]
            for node in join.running:
                lines += ["        " + line for line in self._update(body, node)]
            lines.append("    }")
        return function(name, [*lines, "}"], "const Call& call")

    def _update(self, body: Body, node: int) -> list[str]:
        """The running value of a statistic over the batch."""
        statistic = body.statistics[node]
        assert statistic.raw is not None  # in training
        start = len(body.lines)
        self._load(body, [statistic.raw])
        body.rows([statistic.raw])
        batch = _bracketed(body.row(statistic.raw)) + (" * unbias" if statistic.moment is Moment.STD else "")
        place = f"{self.running[node]}_ptr[c]"
        return [*(s.strip() for s in body.lines[start:]), f"{place} = (1 - momentum) * {place} + momentum * {batch};"]

    def _prepared(self, tiled: Sequence[int], loaded: Sequence[int] = (), without: Collection[int] = ()) -> Body:
        """A body that has what tiles need of their planes."""
        body = Body(self.plan, CPP)
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
            name, place = body.fresh(self.leaf(number)), self._place(number)
            if number in body.statistics and body.statistics[number].moment is not Moment.MEAN:
                place = f"square_root({place} + eps)"  # a running value
            body.line(f"const T {name} = {place};")
            body.name(number, name, Level.ROW)

    def _place(self, number: int) -> str:
        """Where the number of plane (b, c) lies."""
        return _element(self.address(number), self.index(number).replace("//", "/"))

    def _argument(self, node: int) -> int:
        return self.plan.nodes[node - FIRST].args[0]

    def _loops(self, name: str, sections: Sequence[Section]) -> str:
        return loops(name, sections, self.channels_last)


def _total(leaf: str) -> str:
    return f"{leaf}_sum"


def _bracketed(text: str) -> str:
    return text if re.fullmatch(r"\w+(\([^()]*\))?", text) else f"({text})"


def _element(address: str, index: str) -> str:
    """`buffer + 2 * planes` and an index as an element of the buffer."""
    buffer, plus, offset = address.partition(" + ")
    return f"{buffer}[{offset}{plus}{index}]"


def _flat(body: Body) -> list[str]:
    return [line.strip() for line in body.lines]
