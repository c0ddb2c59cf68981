"""The kernels of a streaming layer as Triton source: sweeps over planes, joins over cells, and what writes.

A program of a sweep owns R neighbouring channels of one sample and `span` of their positions, which it goes over BLOCK
at a time; it finds the same value whatever the memory format: only strides differ. Where planes are few and large,
several programs share them, and what each found is merged by a kernel of its own. A program of a join owns one cell, or
the cells of R channels. Nothing is added up by atomics, so the same input gives the same bits.
"""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan, Taken
from evonas.kernels.plan.schedule import Join
from evonas.kernels.printing.buffer_layout import Slots
from evonas.kernels.printing.buffers import JOINED
from evonas.kernels.printing.dialects import TRITON
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.kernel_parts import Kernels, kernel, tile_of
from evonas.language.graph import FIRST
from evonas.language.primitive_table import IndexSet, Moment
from evonas.language.varying_axes import Extent

_DIVISION = ("span", "R", "BLOCK")
"""What the kernels that go over positions are told of how they are divided among programs."""


class StreamingKernels(Kernels):
    """Writes the kernels that go over x as often as the plan says; arguments are those of `Kernels`."""

    def __init__(self, plan: Plan, running: dict[int, str]) -> None:
        super().__init__(plan, running)
        self._narrow: dict[int, str] = {}  # what a join over the batch found, one number for each channel it owns

    def sweep(self, number: int) -> str:
        """The kernel of one sweep before the one that writes."""
        return self._sweep(f"sweep_{number}", self.plan.sweeps[number - 1])

    def totals(self) -> str:
        """The reduction sweep of the backward pass."""
        return self._sweep("total", self.plan.totals)

    def write(self) -> str:
        """The kernel that writes y."""
        body = self.owning_planes()
        output = self.plan.output
        self.load_rows(body, [output])
        body.rows([output])
        body.line("weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        body.line("bias = tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        self._loop(body, reads_dy=False)
        (value,) = body.values([output])
        body.line(f"y = tl.broadcast_to({value} * weight[:, None] + bias[:, None], [R, BLOCK])")
        body.line("tl.store(y_ptr + sample + at, y.to(y_ptr.dtype.element_ty), mask=here)")
        return kernel("write", body, *_DIVISION)

    def write_back(self) -> str:
        """The kernel that writes dx, and the sums of the parameters' gradients over each plane.

        Where dx depends on no total, this sweep takes the totals too.
        """
        plan, body = self.plan, self.owning_planes()
        fused = plan.totals if plan.one_sweep_back else ()
        wanted = [plan.dx, *plan.densities.values(), *(t.value for t in fused)]
        own = {t.mean for t in fused}
        self.load_rows(body, wanted, without=own)
        body.rows([plan.dx, *(t.value for t in fused)])
        for taken in fused:
            body.line(f"{self.leaf(taken.mean)} = tl.zeros([R, LANES], tl.float32)")
        self._loop(body, reads_dy=True)
        dx, *values = body.values([plan.dx, *(t.value for t in fused)])
        body.line(f"dx = {tile_of(dx)}")
        body.line("tl.store(dx_ptr + sample + at, dx.to(dx_ptr.dtype.element_ty), mask=here)")
        for taken, value in zip(fused, values, strict=True):
            body.line(f"{self.leaf(taken.mean)} += folded({value}, here, LANES)")
        body.indent = "    "
        for taken in fused:
            name = self.leaf(taken.mean)
            body.line(f"{name} = tl.sum({name}, axis=1) / HW")
            body.name(taken.mean, name, Level.ROW)
        if fused:  # those of the positions that this program owns
            body.line("plane += tl.program_id(1) * planes")
        else:  # the programs that share a plane all know them
            body.line("inside = inside & (c * 0 + tl.program_id(1) == 0)")
        self.store_densities(body, "planes * tl.num_programs(1)" if fused else "planes")
        return kernel("write_back", body, *_DIVISION, *(["LANES"] if fused else []))

    def join(self, name: str, join: Join) -> str:
        """A kernel that joins planes."""
        over_batch = join.index_set is IndexSet.BWH
        body = Body(self.plan, TRITON)
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

    def merge(self, number: int) -> str:
        """The kernel that merges what several programs found of planes in one sweep."""
        return self._merge(f"merge_{number}", self.plan.sweeps[number - 1])

    def merge_totals(self) -> str:
        """The same of the reduction sweep of the backward pass."""
        return self._merge("merge_total", self.plan.totals)

    def _sweep(self, name: str, taken: tuple[Taken, ...]) -> str:
        body, values = self.owning_planes(), [t.value for t in taken]
        self.load_rows(body, values)
        body.rows(values)
        for leaf in _leaves(taken):
            body.line(f"{self.leaf(leaf)} = tl.zeros([R, LANES], tl.float32)")
        self._loop(body, reads_dy=not taken[0].variance)
        for one, value in zip(taken, body.values(values), strict=True):
            mean = self.leaf(one.mean)
            if one.variance:
                both = f"{mean}, {self.leaf(one.variance)}"
                body.line(f"{both} = merged({both}, start - first, {value}, here, last - first, BLOCK, LANES)")
            else:
                body.line(f"{mean} += folded({value}, here, LANES)")
        body.indent = "    "
        body.line(f"found = found_ptr + tl.program_id(1) * {self._planes(taken)} + plane")
        for one in taken:
            mean = self.leaf(one.mean)
            if one.variance:
                both = f"{mean}, {self.leaf(one.variance)}"
                body.line(f"{both} = moments({both}, last - first, BLOCK, LANES)")
            else:
                body.line(f"{mean} = tl.sum({mean}, axis=1) / (last - first)")
        for leaf in _leaves(taken):
            address = self._slots(taken).address(leaf, "found")
            body.line(f"tl.store({address}, {self.leaf(leaf)}, mask=inside)")
        return kernel(name, body, *_DIVISION, "LANES")

    def _merge(self, name: str, taken: tuple[Taken, ...]) -> str:
        body = Body(self.plan, TRITON)
        body.line("plane = tl.program_id(0) * R + tl.arange(0, R)")
        body.line("inside = plane < planes")
        for leaf in _leaves(taken):
            body.line(f"{self.leaf(leaf)} = tl.zeros([R], tl.float32)")
        body.line("for first in range(0, HW, span):")
        inner = body.inner()
        inner.line("more = tl.minimum(HW - first, span) * 1.0")
        inner.line(f"part = first // span * {self._planes(taken)} + plane")
        for one in taken:
            loads = []
            for leaf in _leaves((one,)):
                address = self._slots(taken).address(leaf, "parts_ptr")
                loads.append(f"tl.load({address} + part, mask=inside, other=0.0)")
            mean = self.leaf(one.mean)
            if one.variance:
                both = f"{mean}, {self.leaf(one.variance)}"
                inner.line(f"{mean}_more = {loads[0]}")
                inner.line(f"square_sum = {loads[1]} * more")
                inner.line(f"{both} = joined({both}, first * 1.0, {mean}_more, square_sum, more)")
            else:
                inner.line(f"{mean} += {loads[0]} * (more / HW)")
        body.lines += inner.lines
        for one in taken:
            if one.variance:
                body.line(f"{self.leaf(one.variance)} = {self.leaf(one.variance)} / HW")
        for leaf in _leaves(taken):
            body.line(f"tl.store({self.address(leaf)} + plane, {self.leaf(leaf)}, mask=inside)")
        return kernel(name, body, "span", "R")

    def _slots(self, taken: tuple[Taken, ...]) -> Slots:
        return self.stats if taken[0].mean in self.stats else self.sums

    def _planes(self, taken: tuple[Taken, ...]) -> str:
        """How many numbers of planes lie in the buffer that a sweep writes to."""
        count = self._slots(taken).counts()["planes"]
        return f"({count} * planes)" if count > 1 else "planes"

    def _reduce(self, body: Body, join: Join, node: int) -> None:
        """The mean of one node's argument over the planes of each cell that the program owns."""
        argument = self.plan.nodes[node - FIRST].args[0]
        over_batch = join.index_set is IndexSet.BWH
        name = body.fresh(f"{JOINED[join.index_set]}_mean")
        inner = body.inner()
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
        self.load_rows(inner, [argument])
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
            body.line(f"tl.store({self.address(node)} + {index}, {name}, mask=of < C)")
            wide = body.fresh(f"{name}_wide")
            body.line(f"{wide} = tl.reshape(tl.broadcast_to({name}[None, :], [DEEP, R]), [DEEP * R])")
            body.name(node, wide, Level.ROW)
        else:
            at = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
            index = at.get(extent, "0")
            body.line(f"tl.store({self.address(node)} + {index}, {name})")
            body.name(node, name, Level.SCALAR)
        self._narrow[node] = name

    def _update(self, body: Body, node: int) -> None:
        """The running value of a statistic over the batch, of the channels that the program owns."""
        statistic = next(s for s in self.plan.statistics if s.node == node)
        assert statistic.raw is not None  # in training
        raw = self._narrow.get(statistic.raw)
        if raw is None or statistic.raw not in body.known:
            inner = body.inner()
            inner.indent = body.indent
            inner.line("b = 0")
            inner.line("c = of")
            inner.line("inside = c < C")
            inner.line("plane = c")
            self.load_rows(inner, [statistic.raw])
            inner.rows([statistic.raw])
            body.lines += inner.lines
            raw = f"({inner.row(statistic.raw)} + tl.zeros([R], tl.float32))"
        batch = f"{raw} * unbias" if statistic.moment is Moment.STD else raw
        address = f"{self.running[node]}_ptr + of"
        body.line(f"old = tl.load({address}, mask=of < C, other=0.0).to(tl.float32)")
        body.line(f"tl.store({address}, (1.0 - momentum) * old + momentum * {batch}, mask=of < C)")

    def _loop(self, body: Body, reads_dy: bool) -> None:
        """The loop over positions; what follows is inside of it."""
        self.locate(body)
        body.line("first = tl.program_id(1) * span")
        body.line("last = tl.minimum(first + span, HW)")
        body.line("for start in range(first, last, BLOCK):")
        body.indent = " " * 8
        self.load_tiles(body, reads_dy, offset="start + ")


def _leaves(taken: tuple[Taken, ...]) -> list[int]:
    """What is stored of what a sweep takes."""
    return [leaf for one in taken for leaf in (one.mean, *([one.variance] if one.variance else []))]
