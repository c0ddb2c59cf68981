"""The plan of a layer: which sweeps over x and dy, what is known after each, and what is written.

Every index set is a union of whole (h, w) planes, so a value either varies within planes or is a number for
each (b, c) at most. Only the former are ever swept over; all that follows from the means of planes is small.

A plan is a value: `plan_of(graph)` makes one (`evonas.kernels.plan.planner`), printers turn it into kernels, and
`str(plan)` can be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evonas.language.graph import Graph, Node
from evonas.language.primitive_table import IndexSet, Moment
from evonas.language.varying_axes import Extent


@dataclass(frozen=True, slots=True)
class Taken:
    """What a sweep takes of a value, on every plane.

    Attributes:
        value: the node, which varies within planes.
        mean: the leaf that stands for its mean on each plane.
        variance: the leaf that stands for its biased variance there; 0 in the backward pass, which takes none.
    """

    value: int
    mean: int
    variance: int = 0


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of the forward pass.

    Attributes:
        node: its number; element-wise values refer to it by this.
        moment, index_set, extent: what it is, and what it varies over.
        raw: the node of its mean, mean square or variance, from values that are constant on planes; None
            where it is given, that is over the batch in evaluation.
        after: the sweep after which it is known, counted from 1; 0 before any.
    """

    node: int
    moment: Moment
    index_set: IndexSet
    extent: Extent
    raw: int | None
    after: int


@dataclass(frozen=True)
class Plan:
    """How `weight · graph + bias` and its gradients are computed.

    Attributes:
        graph: the layer before its affine.
        training: whether statistics over the batch are taken from it.
        nodes: `nodes[i]` is node i + 4; the graph's own come first, under their own numbers.
        extents: of every node, inputs first.
        sweeps: of the forward pass, before the one that writes.
        statistics: in an order in which they can be computed.
        output: the node that the sweep that writes evaluates.
        totals: what the one reduction sweep of the backward pass takes; empty where none is needed.
        rates: for each statistic that has an adjoint, the node by which that enters what its argument gains.
        dx: the node that the backward pass writes.
        densities: for `v0`, `v1`, `weight` and `bias`: a node constant on planes, whose sum over b, times h · w, is
            the gradient.
        saved: the statistics that the backward pass uses.
    """

    graph: Graph
    training: bool
    nodes: tuple[Node, ...]
    extents: tuple[Extent, ...]
    sweeps: tuple[tuple[Taken, ...], ...]
    statistics: tuple[Statistic, ...]
    output: int
    totals: tuple[Taken, ...]
    rates: Mapping[int, int]
    dx: int
    densities: Mapping[str, int]
    saved: tuple[int, ...]

    @property
    def cell(self) -> IndexSet | None:
        """The widest index set that is reduced; None where there is none."""
        reduced = {s.index_set for s in self.statistics if s.raw is not None}
        return next((i for i in (IndexSet.BWH, IndexSet.WHC, IndexSet.WHCG, IndexSet.WH) if i in reduced), None)

    @property
    def fits(self) -> bool:
        """Whether a program that holds one cell on chip, a group say, needs to read x but once."""
        return self.cell is not IndexSet.BWH

    @property
    def one_sweep_back(self) -> bool:
        """Whether dx needs none of the totals, so that one sweep over x and dy takes them and writes it."""
        return not self.rates

    @property
    def passes(self) -> tuple[int, int]:
        """Times that a tensor of x's size is read or written, forward and backward, when nothing stays on chip."""
        return len(self.sweeps) + 2, 3 if self.one_sweep_back else 5

    @property
    def floor(self) -> tuple[int, int]:
        """The same when whole cells stay on chip; that of the streaming plan where cells span the batch."""
        return (2, 3) if self.fits else self.passes

    def varies(self, number: int) -> bool:
        """Whether a node's value varies within planes."""
        return bool(self.extents[number] & Extent.PLANE)

    def __str__(self) -> str:
        from evonas.kernels.plan.plan_text import text

        return text(self)


def plan_of(graph: Graph, training: bool = True) -> Plan:
    """The plan of a layer.

    Args:
        graph: the layer before its affine; its nodes keep their numbers.
        training: whether statistics over the batch are taken from it, or given.
    """
    from evonas.kernels.plan.planner import Planner

    return Planner(graph, training).plan()
