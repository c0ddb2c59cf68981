"""Writes kernels that hold whole cells on chip: they read x, or x and dy, only once.

A program owns one cell (a group or a sample) or, if all statistics are those of planes, some planes. Its tile holds all
of them, so that the numbers which streaming kernels store between sweeps stay in registers. There is one such kernel
for each pass, for layers with cells of one kind and without statistics over the batch in training.
"""

from __future__ import annotations

from evonas.kernels.plan.schedule import PlaneReduction
from evonas.kernels.printing.buffer_layout import cell_index
from evonas.kernels.printing.buffers import CELL_NAMES
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.dialect import TRITON
from evonas.kernels.triton.kernel_parts import Kernels, kernel, tile_of
from evonas.language.primitive_table import IndexSet

FORWARD, BACKWARD = "forward_on_chip", "backward_on_chip"
"""The names of the two kernels in generated files."""


class OnChipKernels(Kernels):
    """Writes the two kernels; the arguments are those of `Kernels`."""

    @property
    def cell(self) -> IndexSet | None:
        """The index set whose cell a program owns; None if it owns planes."""
        return next((reduction.index_set for reduction in self._reductions), None)

    @property
    def has_forward(self) -> bool:
        """Whether the layer has a forward kernel of this kind, that is, whether one is possible and saves reads."""
        one_kind = len({reduction.index_set for reduction in self._reductions}) <= 1 and self.cell is not IndexSet.BWH
        return one_kind and bool(self.plan.sweeps)

    @property
    def has_backward(self) -> bool:
        """Whether the layer has a backward kernel of this kind; one sweep that does it all leaves nothing to save."""
        return self.has_forward and not self.plan.one_sweep_back

    @property
    def _reductions(self) -> tuple[PlaneReduction, ...]:
        return (*self.schedule.forward_reductions, *self.schedule.backward_reductions)

    def forward(self) -> str:
        """The kernel that reads x, stores statistics and writes y."""
        plan, body = self.plan, self._owning()
        wanted = [plan.output, *self._reduced(self.schedule.forward_reductions)]
        wanted += [swept.value for sweep in plan.sweeps for swept in sweep]
        wanted += [s.raw for s in plan.statistics if s.raw is not None]
        self.load_rows(body, wanted, without=set(self.stats.nodes))
        body.line("weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        body.line("bias = tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        self.load_tiles(body, reads_dy=False)
        for step in self.schedule.forward:
            for swept in step.swept:
                body.rows([swept.value])
                (value,) = body.values([swept.value])
                mean, variance = self.leaf(swept.mean), self.leaf(swept.variance)
                body.line(f"{mean} = plane_sum({value}, here) / HW")
                body.line(f"{variance} = plane_sum(square({value} - {mean}[:, None]), here) / HW")
                for leaf, name in ((swept.mean, mean), (swept.variance, variance)):
                    body.name(leaf, name, Level.ROW)
                    body.line(f"tl.store({self.address(leaf)} + plane, {name}, mask=inside)")
            if step.reduction is not None:
                self._reduce(body, step.reduction, stored=True)
        body.rows([plan.output])
        (value,) = body.values([plan.output])
        body.line(f"y = tl.broadcast_to({value} * weight[:, None] + bias[:, None], [R, BLOCK])")
        body.line("tl.store(y_ptr + sample + at, y.to(y_ptr.dtype.element_ty), mask=here)")
        return kernel(FORWARD, body, "R", "BLOCK")

    def backward(self) -> str:
        """The kernel that reads x, dy and statistics, and writes dx and, for each plane, the parameters' gradients."""
        plan, body = self.plan, self._owning()
        reductions = self.schedule.backward_reductions
        values = [swept.value for swept in plan.totals]
        wanted = [*values, *self._reduced(reductions), *plan.adjoint_factors.values()]
        wanted += [plan.dx, *plan.densities.values()]
        self.load_rows(body, wanted, without=set(self.sums.nodes))
        body.rows(values)
        self.load_tiles(body, reads_dy=True)
        for swept, value in zip(plan.totals, body.values(values), strict=True):
            name = self.leaf(swept.mean)
            body.line(f"{name} = plane_sum({value}, here) / HW")
            body.name(swept.mean, name, Level.ROW)
        for reduction in reductions:
            self._reduce(body, reduction, stored=False)
        body.rows([plan.dx])
        (value,) = body.values([plan.dx])
        body.line(f"dx = {tile_of(value)}")
        body.line("tl.store(dx_ptr + sample + at, dx.to(dx_ptr.dtype.element_ty), mask=here)")
        self.store_densities(body)
        return kernel(BACKWARD, body, "R", "BLOCK")

    def _reduced(self, reductions: tuple[PlaneReduction, ...]) -> list[int]:
        """The nodes that reductions across planes take the means of."""
        return [self.reduced(node) for reduction in reductions for node in reduction.nodes]

    def _reduce(self, body: Body, reduction: PlaneReduction, stored: bool) -> None:
        """Reduces across the planes of the program's cell; with `stored`, the means go to a buffer too."""
        for node in reduction.nodes:
            argument = self.reduced(node)
            body.rows([argument])
            name = body.fresh(f"{CELL_NAMES[reduction.index_set]}_mean")
            body.line(f"{name} = tl.sum(tl.where(inside, {body.row(argument)}, 0.0), axis=0) / width")
            body.name(node, name, Level.SCALAR)
            if stored:
                body.line(f"tl.store({self.address(node)} + {cell_index(self.plan.extents[node])}, {name})")

    def _owning(self) -> Body:
        """The head of a kernel in which each program owns a cell, or R planes."""
        if self.cell is None:
            body = self.owning_planes()
        else:
            body = Body(self.plan, TRITON)
            grouped = self.cell is IndexSet.WHCG
            body.line(f"b = (tl.program_id(0){' // G' if grouped else ''}).to(tl.int64)")
            if grouped:
                body.line("g = tl.program_id(0) % G")
            body.line(f"width = {'C // G' if grouped else 'C'}")
            body.line("inside = tl.arange(0, R) < width")
            body.line(f"c = {'g * width + ' if grouped else ''}tl.arange(0, R)")
            body.line("plane = b * C + c")
        self.locate(body)
        return body
