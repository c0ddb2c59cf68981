"""Kernels that hold whole cells on chip: x is read once and y written once, or x and dy once and dx.

A program owns one cell, a group or a sample, or some planes where statistics are those of planes; its tile holds
all of it, so that what streaming kernels store between sweeps stays in registers. There is one such kernel forward
and one backward, for layers without statistics over the batch in training and with cells of one kind.
"""

from __future__ import annotations

from evonas.kernels.plan.schedule import Join
from evonas.kernels.printing.buffers import JOINED
from evonas.kernels.printing.dialects import TRITON
from evonas.kernels.printing.value_writer import Body, Level
from evonas.kernels.triton.kernel_parts import Kernels, kernel, tile_of
from evonas.language.graph import FIRST
from evonas.language.primitive_table import IndexSet
from evonas.language.varying_axes import Extent

_AT = {Extent.BATCH | Extent.GROUP: "b * G + g", Extent.BATCH: "b", Extent.GROUP: "g"}
"""Which number of a joined value belongs to the program's cell."""


class OnChipKernels(Kernels):
    """Writes the two kernels; arguments are those of `Kernels`."""

    @property
    def cell(self) -> IndexSet | None:
        """What a program owns: a group, a sample, or planes (None)."""
        return next((join.index_set for join in (*self.forward_joins, *self.backward_joins)), None)

    @property
    def possible(self) -> bool:
        """Whether the layer has such kernels, and gains by them."""
        joins = (*self.forward_joins, *self.backward_joins)
        one_kind = len({join.index_set for join in joins}) <= 1 and self.cell is not IndexSet.BWH
        return one_kind and bool(self.plan.sweeps)

    def forward(self) -> str:
        """The kernel that reads x, stores statistics and writes y."""
        plan, body = self.plan, self._owning()
        wanted = [plan.output, *self._joined(self.forward_joins), *(t.value for sweep in plan.sweeps for t in sweep)]
        wanted += [s.raw for s in plan.statistics if s.raw is not None]
        self.load_rows(body, wanted, without=set(self.stats.nodes))
        body.line("weight = tl.load(weight_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        body.line("bias = tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)")
        self.load_tiles(body, reads_dy=False)
        for number in range(len(plan.sweeps) + 1):
            for taken in plan.sweeps[number - 1] if number else ():
                body.rows([taken.value])
                (value,) = body.values([taken.value])
                mean, variance = self.leaf(taken.mean), self.leaf(taken.variance)
                body.line(f"{mean} = plane_sum({value}, here) / HW")
                body.line(f"{variance} = plane_sum(square({value} - {mean}[:, None]), here) / HW")
                for leaf, name in ((taken.mean, mean), (taken.variance, variance)):
                    body.name(leaf, name, Level.ROW)
                    body.line(f"tl.store({self.address(leaf)} + plane, {name}, mask=inside)")
            for join in self.forward_joins:
                if join.after == number:
                    self._join(body, join, stored=True)
        body.rows([plan.output])
        (value,) = body.values([plan.output])
        body.line(f"y = tl.broadcast_to({value} * weight[:, None] + bias[:, None], [R, BLOCK])")
        body.line("tl.store(y_ptr + sample + at, y.to(y_ptr.dtype.element_ty), mask=here)")
        return kernel("forward_on_chip", body, "R", "BLOCK")

    def backward(self) -> str:
        """The kernel that reads x, dy and statistics, and writes dx and the parameters' gradients of each plane."""
        plan, body = self.plan, self._owning()
        values = [taken.value for taken in plan.totals]
        wanted = [*values, *self._joined(self.backward_joins), *plan.rates.values(), plan.dx, *plan.densities.values()]
        self.load_rows(body, wanted, without=set(self.sums.nodes))
        body.rows(values)
        self.load_tiles(body, reads_dy=True)
        for taken, value in zip(plan.totals, body.values(values), strict=True):
            name = self.leaf(taken.mean)
            body.line(f"{name} = plane_sum({value}, here) / HW")
            body.name(taken.mean, name, Level.ROW)
        for join in self.backward_joins:
            self._join(body, join, stored=False)
        body.rows([plan.dx])
        (value,) = body.values([plan.dx])
        body.line(f"dx = {tile_of(value)}")
        body.line("tl.store(dx_ptr + sample + at, dx.to(dx_ptr.dtype.element_ty), mask=here)")
        self.store_densities(body)
        return kernel("backward_on_chip", body, "R", "BLOCK")

    def _joined(self, joins: tuple[Join, ...]) -> list[int]:
        """What joins take the mean of."""
        return [self.plan.nodes[node - FIRST].args[0] for join in joins for node in join.nodes]

    def _join(self, body: Body, join: Join, stored: bool) -> None:
        for node in join.nodes:
            argument = self.plan.nodes[node - FIRST].args[0]
            body.rows([argument])
            name = body.fresh(f"{JOINED[join.index_set]}_mean")
            body.line(f"{name} = tl.sum(tl.where(inside, {body.row(argument)}, 0.0), axis=0) / width")
            body.name(node, name, Level.SCALAR)
            if stored:
                body.line(f"tl.store({self.address(node)} + {_AT.get(self.plan.extents[node], '0')}, {name})")

    def _owning(self) -> Body:
        """The head of a kernel whose programs own a cell each, or R planes."""
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
