"""The plan of a layer: the sweeps over x and dy, what is known after each of them, and what is written.

Every index set is a union of whole (h, w) planes, so a value either varies within planes or has at most one number
for each (b, c). Only values of the first kind need a sweep; everything that follows from the means of planes is small.

A plan is a value: `plan_of(graph)` in `evonas.kernels.plan.planner` makes one, the printers turn it into kernels, and
`str(plan)` shows it to people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from evonas.language.graph import FIRST, Graph, Node
from evonas.language.listing import listing
from evonas.language.primitive_table import IndexSet, Moment
from evonas.language.varying_axes import Extent

_CELLS = {IndexSet.WH: "a plane", IndexSet.WHCG: "a group", IndexSet.WHC: "a sample"}


@dataclass(frozen=True, slots=True)
class SweptValue:
    """A value whose moments on every plane are found by a sweep.

    Attributes:
        value: the node, which varies within planes.
        mean: the leaf that stands for its mean on each plane.
        variance: the leaf that stands for its biased variance on each plane; 0 in the backward pass, which needs means
            only.
    """

    value: int
    mean: int
    variance: int = 0

    @property
    def leaves(self) -> tuple[int, ...]:
        """The leaves that the sweep stores."""
        return (self.mean, self.variance) if self.variance else (self.mean,)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of the forward pass.

    Attributes:
        node: its number, by which element-wise values refer to it.
        moment: mean, root mean square or standard deviation.
        index_set: the axes that it reduces.
        extent: the axes that it varies over.
        raw: the node of its mean, mean square or variance, computed from values that are constant on planes; None
            for a statistic over the batch in evaluation, whose running value is an input of the kernels.
        after: the number of the sweep after which it is known, counted from 1; 0 if it needs no sweep.
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
        training: whether statistics over the batch are computed from the input.
        nodes: `nodes[i]` is node i + 4; the graph's own nodes come first and keep their numbers.
        extents: the axes that each node varies over, inputs first.
        sweeps: the values that each sweep of the forward pass reduces; the sweep that writes y is not among them.
        statistics: in an order in which they can be computed.
        output: the node that the last sweep of the forward pass evaluates and writes.
        totals: the values that the one reduction sweep of the backward pass sums; empty where none is needed.
        adjoint_factors: for each statistic that has an adjoint, the node that multiplies the derivative of the raw
            moment by its argument.
        dx: the node that the backward pass writes.
        densities: for each parameter of the layer, `weight` and `bias` among them, a node that is constant on planes;
            its sum over b, times h · w, is the gradient.
        saved: the statistics that the backward pass uses.
    """

    graph: Graph
    training: bool
    nodes: tuple[Node, ...]
    extents: tuple[Extent, ...]
    sweeps: tuple[tuple[SweptValue, ...], ...]
    statistics: tuple[Statistic, ...]
    output: int
    totals: tuple[SweptValue, ...]
    adjoint_factors: Mapping[int, int]
    dx: int
    densities: Mapping[str, int]
    saved: tuple[int, ...]

    @property
    def cell(self) -> IndexSet | None:
        """The widest index set that is reduced; None if nothing is reduced."""
        reduced = {s.index_set for s in self.statistics if s.raw is not None}
        return next((i for i in (IndexSet.BWH, IndexSet.WHC, IndexSet.WHCG, IndexSet.WH) if i in reduced), None)

    @property
    def fits(self) -> bool:
        """Whether a program that holds one cell on chip, such as a group, reads x only once."""
        return self.cell is not IndexSet.BWH

    @property
    def one_sweep_back(self) -> bool:
        """Whether dx depends on none of the totals, so that one sweep over x and dy finds them and writes dx."""
        return not self.adjoint_factors

    @property
    def passes(self) -> tuple[int, int]:
        """How often a tensor of x's size is read or written, forward and backward, if nothing stays on chip."""
        return len(self.sweeps) + 2, 3 if self.one_sweep_back else 5

    @property
    def floor(self) -> tuple[int, int]:
        """The same if whole cells stay on chip; equal to `passes` where cells span the batch."""
        return (2, 3) if self.fits else self.passes

    @cached_property
    def raw_moments(self) -> Mapping[int, int | None]:
        """The node of the raw moment of each statistic, by the statistic's number."""
        return {s.node: s.raw for s in self.statistics}

    def varies_in_sweep(self, number: int) -> bool:
        """Whether a node's value varies within (h, w) planes, over which sweeps go."""
        return bool(self.extents[number] & Extent.PLANE)

    def arguments(self, number: int) -> tuple[int, ...]:
        """The nodes that a node is computed from: for a statistic its raw moment, for inputs and leaves none."""
        if number < FIRST:
            return ()
        if number in self.raw_moments:
            raw = self.raw_moments[number]
            return () if raw is None else (raw,)
        return self.nodes[number - FIRST].args

    def __str__(self) -> str:
        return _text(self)


def _text(plan: Plan) -> str:
    """The plan, sweep by sweep; a value that an earlier line defines is written by its name."""
    names = {s.node: _name(plan, s) for s in plan.statistics}
    streaming, floor = plan.passes, plan.floor
    lines = [f"layer     {plan.graph.written()}, {'training' if plan.training else 'evaluation'}"]
    for number in range(len(plan.sweeps) + 1):
        if number:
            lines += _sweep(plan, f"sweep {number}", "reads x", plan.sweeps[number - 1], names)
        known = [s for s in plan.statistics if s.after == number and s.raw is not None]
        lines += _block("", [line for s in known for line in _statistic(plan, s, names)])
    lines += _block("write", listing(plan.nodes, {"y": plan.output}, names), ", times weight, plus bias")
    lines += _block("saved", [", ".join(["x", *(names[n] for n in plan.saved)])])
    if plan.totals:
        lines += _sweep(plan, "backward", "reads x and dy", plan.totals, names)
    factors = {node: f"rate_{names[s]}" for s, node in plan.adjoint_factors.items() if node >= FIRST}
    finish: list[str] = []
    earlier = dict(names)
    for statistic, node in plan.adjoint_factors.items():
        finish += listing(plan.nodes, {f"rate_{names[statistic]}": node}, earlier)
        earlier |= {node: factors[node]} if node in factors else {}
    finish += listing(plan.nodes, {f"d_{name} sums": node for name, node in plan.densities.items()}, earlier)
    lines += _block("", finish)
    lines += _block("write" if plan.adjoint_factors else "", listing(plan.nodes, {"dx": plan.dx}, earlier))
    lines.append(f"traffic   forward {streaming[0]} S, backward {streaming[1]} S, S being the size of x")
    if floor != streaming and plan.cell is not None:
        lines.append(f"          forward {floor[0]} S, backward {floor[1]} S where {_CELLS[plan.cell]} fits on chip")
    return "\n".join(lines)


def _name(plan: Plan, statistic: Statistic) -> str:
    """The statistic as expressions write it if that is short, otherwise its operation and its number."""
    op, args = plan.nodes[statistic.node - FIRST]
    return f"{op}(x)" if args == (0,) else f"{op}_{statistic.node}"


def _sweep(plan: Plan, title: str, reads: str, swept: tuple[SweptValue, ...], names: dict[int, str]) -> list[str]:
    outputs = {", ".join(plan.nodes[n - FIRST].op for n in s.leaves): s.value for s in swept}
    lines = listing(plan.nodes, outputs, names)
    for place, (what, line) in enumerate(zip(outputs, lines[-len(outputs) :], strict=True), len(lines) - len(outputs)):
        lines[place] = f"{what} of {line.removeprefix(f'{what} = ')}"
    return _block(title, [reads, *lines])


def _statistic(plan: Plan, statistic: Statistic, names: dict[int, str]) -> list[str]:
    assert statistic.raw is not None  # a running value is not computed
    earlier = {n: name for n, name in names.items() if n != statistic.node}
    lines = listing(plan.nodes, {names[statistic.node]: statistic.raw}, earlier)
    if statistic.moment.value != "mean":
        left, right = lines[-1].split(" = ", 1)
        lines[-1] = f"{left} = root({right})"
    return lines


def _block(title: str, lines: list[str], after: str = "") -> list[str]:
    if not lines:
        return []
    first, *others = [*lines[:-1], lines[-1] + after]
    return [f"{title:<10}{first}", *(f"{'':<10}{line}" for line in others)]
