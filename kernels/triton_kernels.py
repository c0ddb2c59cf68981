"""The kernels of a streaming layer as Triton source: sweeps over planes, joins over cells, and what writes.

A program of a sweep owns R neighbouring channels of one sample, goes over their positions BLOCK at a time, and
finds the same value whatever the memory format: only strides differ. A program of a join owns one cell, or the
cells of R channels. Nothing is added up by atomics, so the same input gives the same bits.
"""

from __future__ import annotations

import re

from evonas.derive import DY, WEIGHT
from evonas.extent import Extent
from evonas.graph import FIRST, INPUTS, V0, V1, X
from evonas.kernels.plan import Plan, Taken
from evonas.kernels.schedule import Join, backward_joins, forward_joins
from evonas.kernels.slots import Slots
from evonas.kernels.triton_source import Body, Level
from evonas.ops import DERIVED, IndexSet, Moment

ARGUMENTS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", "v0_ptr", "v1_ptr", "weight_ptr", "bias_ptr"),
    *("stats_ptr", "totals_ptr", "densities_ptr", "running_ptr"),
    *("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "eps", "momentum", "unbias"),
)
"""Every argument that a kernel may have, in order; R, BLOCK and such follow and are constants."""

_JOINED = {IndexSet.BWH: "batch", IndexSet.WHCG: "group", IndexSet.WHC: "layer"}


class StreamingKernels:
    """Writes the kernels of one plan.

    Args:
        plan: of the layer.
        running: the place of each statistic over the batch among the running values, by node.

    Attributes:
        stats: what the forward pass finds and the backward pass needs.
        sums: what the backward pass finds on its way.
        densities: names of the parameters, in the order of the rows of their buffer.
    """

    def __init__(self, plan: Plan, running: dict[int, int]) -> None:
        self.plan, self.running = plan, running
        self.forward_joins, self.backward_joins = forward_joins(plan), backward_joins(plan)
        self.densities = tuple(plan.densities)
        self._narrow: dict[int, str] = {}  # what a join over the batch found, one number for each channel it owns
        taken = [n for sweep in plan.sweeps for t in sweep for n in (t.mean, t.variance)]
        saved = [*taken, *(n for join in self.forward_joins for n in join.nodes)]
        totals = [*(t.mean for t in plan.totals), *(n for join in self.backward_joins for n in join.nodes)]
        self.stats = Slots("stats_ptr", ((n, plan.extents[n]) for n in saved))
        self.sums = Slots("totals_ptr", ((n, plan.extents[n]) for n in totals))

    def sweep(self, number: int) -> str:
        """The kernel of one sweep before the one that writes."""
        return self._sweep(f"sweep_{number}", self.plan.sweeps[number - 1])

    def totals(self) -> str:
        """The reduction sweep of the backward pass."""
        return self._sweep("total", self.plan.totals)

    def write(self) -> str:
        """The kernel that writes y."""
        body = self._owning_planes()
        output = self.plan.output
        self._load_rows(body, [output])
        body.rows([output])
        body.line("weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        body.line("bias = tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        self._loop(body, reads_dy=False)
        (value,) = body.values([output])
        body.line(f"y = tl.broadcast_to({value} * weight[:, None] + bias[:, None], [R, BLOCK])")
        body.line("tl.store(y_ptr + at, y.to(y_ptr.dtype.element_ty), mask=here)")
        return kernel("write", body, "R", "BLOCK")

    def write_back(self) -> str:
        """The kernel that writes dx, and the sums of the parameters' gradients over each plane.

        Where dx depends on no total, this sweep takes the totals too.
        """
        plan, body = self.plan, self._owning_planes()
        fused = plan.totals if plan.one_sweep_back else ()
        wanted = [plan.dx, *plan.densities.values(), *(t.value for t in fused)]
        own = {t.mean for t in fused}
        self._load_rows(body, wanted, without=own)
        body.rows([plan.dx, *(t.value for t in fused)])
        for taken in fused:
            body.line(f"{self._leaf(taken.mean)} = tl.zeros([R], tl.float32)")
        self._loop(body, reads_dy=True)
        dx, *values = body.values([plan.dx, *(t.value for t in fused)])
        body.line(f"dx = tl.broadcast_to({dx}, [R, BLOCK])")
        body.line("tl.store(dx_ptr + at, dx.to(dx_ptr.dtype.element_ty), mask=here)")
        for taken, value in zip(fused, values, strict=True):
            body.line(f"{self._leaf(taken.mean)} += plane_sum({value}, here)")
        body.indent = "    "
        for taken in fused:
            name = self._leaf(taken.mean)
            body.line(f"{name} = {name} / HW")
            body.name(taken.mean, name, Level.ROW)
        self._store_densities(body)
        return kernel("write_back", body, "R", "BLOCK")

    def join(self, name: str, join: Join) -> str:
        """A kernel that joins planes."""
        over_batch = join.index_set is IndexSet.BWH
        body = Body(self.plan)
        if over_batch:
            body.line("of = tl.program_id(0) * R + tl.arange(0, R)")
        elif join.index_set is IndexSet.WHCG:
            body.line("b = tl.program_id(0) // G")
            body.line("g = tl.program_id(0) % G")
            body.line("width = C // G")
        else:
            body.line("b = tl.program_id(0)")
            body.line("width = C")
        for node in join.nodes:
            self._reduce(body, join, node)
        for node in join.running:
            self._update(body, node)
        return kernel(name, body, "R", *(["DEEP"] if over_batch and join.nodes else []))

    def _sweep(self, name: str, taken: tuple[Taken, ...]) -> str:
        body, values = self._owning_planes(), [t.value for t in taken]
        self._load_rows(body, values)
        body.rows(values)
        for one in taken:
            body.line(f"{self._leaf(one.mean)} = tl.zeros([R], tl.float32)")
            if one.variance:
                body.line(f"{self._leaf(one.variance)} = tl.zeros([R], tl.float32)")
        self._loop(body, reads_dy=not taken[0].variance)
        written = body.values(values)
        if any(t.variance for t in taken):
            body.line("more = tl.minimum(HW - start, BLOCK) * 1.0")
        for one, value in zip(taken, written, strict=True):
            mean = self._leaf(one.mean)
            if one.variance:
                var = self._leaf(one.variance)
                body.line(f"{mean}, {var} = merged({mean}, {var}, start * 1.0, {value}, here, more)")
            else:
                body.line(f"{mean} += plane_sum({value}, here)")
        body.indent = "    "
        for one in taken:
            divided = self._leaf(one.variance or one.mean)
            body.line(f"{divided} = {divided} / HW")
            for leaf in (one.mean, *([one.variance] if one.variance else [])):
                body.line(f"tl.store({self._address(leaf)} + plane, {self._leaf(leaf)}, mask=inside)")
        return kernel(name, body, "R", "BLOCK")

    def _reduce(self, body: Body, join: Join, node: int) -> None:
        """The mean of one node's argument over the planes of each cell that the program owns."""
        argument = self.plan.nodes[node - FIRST].args[0]
        over_batch = join.index_set is IndexSet.BWH
        name = body.fresh(f"{_JOINED[join.index_set]}_mean")
        inner = Body(self.plan)
        inner.known |= body.known
        inner.indent = " " * 8
        if over_batch:
            body.line(f"{name} = tl.zeros([R], tl.float32)")
            body.line("for first in range(0, B, DEEP):")
            inner.line("b = first + tl.arange(0, DEEP * R) // R")
            inner.line("c = tl.program_id(0) * R + tl.arange(0, DEEP * R) % R")
            inner.line("inside = (b < B) & (c < C)")
        else:
            body.line(f"{name} = 0.0")
            body.line("for first in range(0, width, R):")
            inner.line("j = first + tl.arange(0, R)")
            inner.line("inside = j < width")
            inner.line("c = g * width + j" if join.index_set is IndexSet.WHCG else "c = j")
        inner.line("plane = b * C + c")
        self._load_rows(inner, [argument])
        inner.rows([argument])
        value = f"tl.where(inside, {inner.row(argument)}, 0.0)"
        if over_batch:
            inner.line(f"{name} += tl.sum(tl.reshape({value}, [DEEP, R]), axis=0)")
        else:
            inner.line(f"{name} += tl.sum({value}, axis=0)")
        body.lines += inner.lines
        body.line(f"{name} = {name} / {'B' if over_batch else 'width'}")
        extent = self.plan.extents[node]
        if over_batch:
            index = "of" if extent & Extent.CHANNEL else "of * 0"
            index = "of // (C // G)" if extent == Extent.GROUP else index
            body.line(f"tl.store({self._address(node)} + {index}, {name}, mask=of < C)")
            wide = body.fresh(f"{name}_wide")
            body.line(f"{wide} = tl.reshape(tl.broadcast_to({name}[None, :], [DEEP, R]), [DEEP * R])")
            body.name(node, wide, Level.ROW)
        else:
            at = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
            index = at.get(extent, "0")
            body.line(f"tl.store({self._address(node)} + {index}, {name})")
            body.name(node, name, Level.SCALAR)
        self._narrow[node] = name

    def _update(self, body: Body, node: int) -> None:
        """The running value of a statistic over the batch, of the channels that the program owns."""
        statistic = next(s for s in self.plan.statistics if s.node == node)
        assert statistic.raw is not None  # in training
        raw = self._narrow.get(statistic.raw)
        if raw is None or statistic.raw not in body.known:
            inner = Body(self.plan)
            inner.line("b = 0")
            inner.line("c = of")
            inner.line("inside = c < C")
            inner.line("plane = c")
            self._load_rows(inner, [statistic.raw])
            inner.rows([statistic.raw])
            body.lines += inner.lines
            raw = f"({inner.row(statistic.raw)} + tl.zeros([R], tl.float32))"
        batch = f"{raw} * unbias" if statistic.moment is Moment.STD else raw
        address = f"running_ptr + {self.running[node]} * C + of"
        body.line(f"old = tl.load({address}, mask=of < C, other=0.0)")
        body.line(f"tl.store({address}, (1.0 - momentum) * old + momentum * {batch}, mask=of < C)")

    def _store_densities(self, body: Body) -> None:
        body.rows(self.plan.densities.values())
        for row, node in enumerate(self.plan.densities.values()):
            value = f"{body.row(node)} + tl.zeros([R], tl.float32)"
            body.line(f"tl.store(densities_ptr + {row} * planes + plane, {value}, mask=inside)")

    def _owning_planes(self) -> Body:
        """The head of a kernel whose programs own R channels of a sample."""
        body = Body(self.plan)
        body.line("tiles = tl.cdiv(C, R)")
        body.line("b = (tl.program_id(0) // tiles).to(tl.int64)")
        body.line("c = tl.program_id(0) % tiles * R + tl.arange(0, R)")
        body.line("inside = c < C")
        body.line("plane = b * C + c")
        return body

    def _loop(self, body: Body, reads_dy: bool) -> None:
        """The loop over positions; what follows is inside of it."""
        body.line("rows = b * stride_b + c.to(tl.int64) * stride_c")
        body.line("for start in range(0, HW, BLOCK):")
        body.indent = " " * 8
        self._load_tiles(body, reads_dy)

    def _load_tiles(self, body: Body, reads_dy: bool) -> None:
        body.line("p = start + tl.arange(0, BLOCK)")
        body.line("here = inside[:, None] & (p < HW)[None, :]")
        body.line("at = rows[:, None] + (p.to(tl.int64) * stride_p)[None, :]")
        body.line("x = tl.load(x_ptr + at, mask=here, other=0.0).to(tl.float32)")
        body.name(X, "x", Level.TILE)
        if reads_dy:
            body.line("dy = tl.load(dy_ptr + at, mask=here, other=0.0).to(tl.float32)")
            leaf = next((n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY), None)
            assert leaf is not None  # every plan has one
            body.name(leaf, "dy", Level.TILE)

    def _load_rows(self, body: Body, wanted: list[int], without: set[int] | frozenset[int] = frozenset()) -> None:
        """Loads what some nodes depend on that is constant on planes."""
        for number in body.reached(wanted):
            if self.plan.varies(number) or number in without:
                continue
            name = body.fresh(self._leaf(number))
            address = f"{self._address(number)} + {self._index(number)}"
            body.line(f"{name} = tl.load({address}, mask=inside, other=0.0).to(tl.float32)")
            if number in body.statistics and body.statistics[number].moment is not Moment.MEAN:
                body.line(f"{name} = tl.sqrt_rn({name} + eps)")  # a running value
            body.name(number, name, Level.ROW)

    def _leaf(self, number: int) -> str:
        if number < FIRST:
            return INPUTS[number]
        op = self.plan.nodes[number - FIRST].op
        if op in DERIVED and DERIVED[op].of_planes:
            return f"joined{number}"
        return DERIVED[op].noun if op in DERIVED else op

    def _address(self, number: int) -> str:
        if number in (V0, V1):
            return f"{INPUTS[number]}_ptr"
        for slots in (self.stats, self.sums):
            if number in slots:
                return slots.address(number)
        if number in self.running:
            return f"running_ptr + {self.running[number]} * C"
        assert self.plan.nodes[number - FIRST].op == WEIGHT
        return "weight_ptr"

    def _index(self, number: int) -> str:
        for slots in (self.stats, self.sums):
            if number in slots:
                return slots.index(number)
        return "c"


def kernel(name: str, body: Body, *constants: str) -> str:
    """The source of a kernel, with those arguments that it uses."""
    text = "\n".join(body.lines)
    used = [a for a in ARGUMENTS if re.search(rf"\b{a}\b", text)]
    signature = ", ".join([*used, *(f"{c}: tl.constexpr" for c in constants)])
    return f"@triton.jit\ndef {name}({signature}):\n{text}\n"
