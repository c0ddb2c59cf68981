"""Writes the streaming kernels of a layer in Triton: sweeps over planes, reductions across planes, and writing sweeps.

A program of a sweep owns R neighbouring channels of one sample and `span` of their positions, which it processes BLOCK
at a time. It computes the same value whatever the memory format; only strides differ. Where planes are few and large,
several programs share them, and a kernel of its own merges their results. A program of a reduction across planes owns
one cell, or the cells of R channels. No sum uses atomic operations, so the same input always gives the same bits.
"""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan, SweptValue
from evonas.kernels.plan.schedule import PlaneReduction, Step, StepKind
from evonas.kernels.printing.buffer_layout import BufferLayout, cell_index
from evonas.kernels.printing.buffers import CELL_NAMES
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.dialect import TRITON
from evonas.kernels.triton.kernel_parts import Kernels, kernel, tile_of
from evonas.language.primitive_table import IndexSet
from evonas.language.varying_axes import Extent

_DIVISION = ("span", "R", "BLOCK")
"""The arguments and constants that divide the work of a kernel over positions among programs."""


class StreamingKernels(Kernels):
    """Writes the kernels that read x as often as the plan says; the arguments are those of `Kernels`."""

    def __init__(self, plan: Plan, running: dict[int, str]) -> None:
        super().__init__(plan, running)
        # The means that a reduction over the batch has computed, with one number for each channel that it owns.
        self._channel_means: dict[int, str] = {}

    def sources(self, step: Step) -> list[str]:
        """The kernels of a step; a sweep has a second one, which merges the results of programs that share planes."""
        match step.kind:
            case StepKind.SWEEP:
                assert step.merge is not None  # every sweep names one
                return [self._sweep(step.name, step.swept), self._merge(step.merge, step.swept)]
            case StepKind.WRITE:
                return [self._write(step.name)]
            case StepKind.WRITE_BACK:
                return [self._write_back(step.name, step.swept)]
        assert step.reduction is not None  # no other kind is left
        return [self._reduction(step.name, step.reduction)]

    def layout_of(self, swept: tuple[SweptValue, ...]) -> BufferLayout:
        """The layout of the buffer in which a sweep stores its results."""
        return self.stats if swept[0].mean in self.stats else self.sums

    def _write(self, name: str) -> str:
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
        return kernel(name, body, *_DIVISION)

    def _write_back(self, kernel_name: str, fused: tuple[SweptValue, ...]) -> str:
        """The kernel that writes dx and the gradients of the parameters, summed over each plane.

        Args:
            kernel_name: the name of the kernel.
            fused: the totals, if dx depends on none of them, so that this sweep finds them on the way.
        """
        plan, body = self.plan, self.owning_planes()
        wanted = [plan.dx, *plan.densities.values(), *(swept.value for swept in fused)]
        own = {swept.mean for swept in fused}
        self.load_rows(body, wanted, without=own)
        body.rows([plan.dx, *(swept.value for swept in fused)])
        for swept in fused:
            body.line(f"{self.leaf(swept.mean)} = tl.zeros([R, LANES], tl.float32)")
        self._loop(body, reads_dy=True)
        dx, *values = body.values([plan.dx, *(swept.value for swept in fused)])
        body.line(f"dx = {tile_of(dx)}")
        body.line("tl.store(dx_ptr + sample + at, dx.to(dx_ptr.dtype.element_ty), mask=here)")
        for swept, value in zip(fused, values, strict=True):
            body.line(f"{self.leaf(swept.mean)} += folded({value}, here, LANES)")
        body.indent = "    "
        for swept in fused:
            name = self.leaf(swept.mean)
            body.line(f"{name} = tl.sum({name}, axis=1) / HW")
            body.name(swept.mean, name, Level.ROW)
        if fused:  # each program stores the gradients of the positions that it owns
            body.line("plane += tl.program_id(1) * planes")
        else:  # all programs that share a plane know them, so one stores them
            body.line("inside = inside & (c * 0 + tl.program_id(1) == 0)")
        self.store_densities(body, "planes * tl.num_programs(1)" if fused else "planes")
        return kernel(kernel_name, body, *_DIVISION, *(["LANES"] if fused else []))

    def _reduction(self, name: str, reduction: PlaneReduction) -> str:
        """A kernel that reduces across planes."""
        over_batch = reduction.index_set is IndexSet.BWH
        body = Body(self.plan, TRITON)
        if over_batch:
            body.line("of = tl.program_id(0) * R + tl.arange(0, R)")
        elif reduction.index_set is IndexSet.WHCG:
            body.line("b = tl.program_id(0) // G")
            body.line("g = tl.program_id(0) % G")
            body.line("width = C // G")
        else:
            body.line("b = tl.program_id(0)")
            body.line("width = C")
        for node in reduction.nodes:
            self._reduce(body, reduction, node)
        for node in reduction.running:
            self._update(body, node)
        return kernel(name, body, "R", *(["DEEP"] if over_batch and reduction.nodes else []))

    def _sweep(self, name: str, swept: tuple[SweptValue, ...]) -> str:
        """A kernel that finds moments of values on every plane, or on the part of it that a program owns."""
        body, values = self.owning_planes(), [one.value for one in swept]
        self.load_rows(body, values)
        body.rows(values)
        for leaf in _leaves(swept):
            body.line(f"{self.leaf(leaf)} = tl.zeros([R, LANES], tl.float32)")
        self._loop(body, reads_dy=not swept[0].variance)
        for one, value in zip(swept, body.values(values), strict=True):
            mean = self.leaf(one.mean)
            if one.variance:
                both = f"{mean}, {self.leaf(one.variance)}"
                body.line(f"{both} = merged({both}, start - first, {value}, here, last - first, BLOCK, LANES)")
            else:
                body.line(f"{mean} += folded({value}, here, LANES)")
        body.indent = "    "
        body.line(f"found = found_ptr + tl.program_id(1) * {self._planes(swept)} + plane")
        for one in swept:
            mean = self.leaf(one.mean)
            if one.variance:
                both = f"{mean}, {self.leaf(one.variance)}"
                body.line(f"{both} = moments({both}, last - first, BLOCK, LANES)")
            else:
                body.line(f"{mean} = tl.sum({mean}, axis=1) / (last - first)")
        for leaf in _leaves(swept):
            address = self.layout_of(swept).address(leaf, "found")
            body.line(f"tl.store({address}, {self.leaf(leaf)}, mask=inside)")
        return kernel(name, body, *_DIVISION, "LANES")

    def _merge(self, name: str, swept: tuple[SweptValue, ...]) -> str:
        """The kernel that merges the results of programs that share planes in a sweep."""
        body = Body(self.plan, TRITON)
        body.line("plane = tl.program_id(0) * R + tl.arange(0, R)")
        body.line("inside = plane < planes")
        for leaf in _leaves(swept):
            body.line(f"{self.leaf(leaf)} = tl.zeros([R], tl.float32)")
        body.line("for first in range(0, HW, span):")
        inner = body.inner()
        inner.line("more = tl.minimum(HW - first, span) * 1.0")
        inner.line(f"part = first // span * {self._planes(swept)} + plane")
        for one in swept:
            loads = []
            for leaf in one.leaves:
                address = self.layout_of(swept).address(leaf, "parts_ptr")
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
        for one in swept:
            if one.variance:
                body.line(f"{self.leaf(one.variance)} = {self.leaf(one.variance)} / HW")
        for leaf in _leaves(swept):
            body.line(f"tl.store({self.address(leaf)} + plane, {self.leaf(leaf)}, mask=inside)")
        return kernel(name, body, "span", "R")

    def _planes(self, swept: tuple[SweptValue, ...]) -> str:
        """How many numbers for planes the buffer of a sweep's results holds, as source."""
        count = self.layout_of(swept).counts()["planes"]
        return f"({count} * planes)" if count > 1 else "planes"

    def _reduce(self, body: Body, reduction: PlaneReduction, node: int) -> None:
        """Computes the mean of one node's argument over the planes of each cell that the program owns."""
        argument = self.reduced(node)
        over_batch = reduction.index_set is IndexSet.BWH
        name = body.fresh(f"{CELL_NAMES[reduction.index_set]}_mean")
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
            inner.line("c = g * width + j" if reduction.index_set is IndexSet.WHCG else "c = j")
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
            body.line(f"tl.store({self.address(node)} + {cell_index(extent)}, {name})")
            body.name(node, name, Level.SCALAR)
        self._channel_means[node] = name

    def _update(self, body: Body, node: int) -> None:
        """Updates the running value of a statistic over the batch, for the channels that the program owns."""
        statistic = next(s for s in self.plan.statistics if s.node == node)
        assert statistic.raw is not None  # in training
        raw = self._channel_means.get(statistic.raw)
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
        address = f"{self.running[node]}_ptr + of"
        body.line(f"old = tl.load({address}, mask=of < C, other=0.0).to(tl.float32)")
        body.line(f"tl.store({address}, {self.updated_running_value(node, 'old', raw, TRITON.one)}, mask=of < C)")

    def _loop(self, body: Body, reads_dy: bool) -> None:
        """Begins the loop over positions; the lines that follow are inside it."""
        self.locate(body)
        body.line("first = tl.program_id(1) * span")
        body.line("last = tl.minimum(first + span, HW)")
        body.line("for start in range(first, last, BLOCK):")
        body.indent = " " * 8
        self.load_tiles(body, reads_dy, offset="start + ")


def _leaves(swept: tuple[SweptValue, ...]) -> list[int]:
    """The leaves that a sweep stores."""
    return [leaf for one in swept for leaf in one.leaves]
