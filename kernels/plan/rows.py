"""The plan of a layer whose statistics are taken over the channels at single positions: its sweeps over a row.

A row is the channels of one position. It fits into a processor's first cache, so nothing is kept between the forward
and the backward pass: both compute everything from x, and in the backward pass from dy as well. Both are programs of
the same form: element-wise operations, and means over a row or over each of its groups. A mean needs a sweep over the
row, and means that do not depend on one another share a sweep.

The backward pass is the graph that `evonas.language.differentiate` derives. The gradient of a parameter is a sum over
rows of a value of each row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from evonas.kernels.plan.plan import Statistic
from evonas.kernels.plan.plane_algebra import factored
from evonas.kernels.plan.walk import in_order
from evonas.language.axes import REMOVES, Extent, IndexSet
from evonas.language.differentiate import DY, WEIGHT, pull
from evonas.language.graph import FIRST, INPUTS, ZERO, Graph, Node, X
from evonas.language.leaf import leaf_named
from evonas.language.listing import listing
from evonas.language.primitive_table import OPERATIONS, Moment
from evonas.language.rewriter import Rewriter
from evonas.language.simplify import rewriter

ROW_MEAN, GROUP_MEAN = "mean_c", "mean_cg"
"""The operations that a sweep computes: the mean of a row, and of each group of its channels."""


@dataclass(frozen=True)
class RowPass:
    """One pass over a row.

    Attributes:
        sweeps: the means that each sweep finds; the sweep that writes comes after them.
        written: the node of the value that is written for each channel.
        summed: for each parameter, the node whose sum over rows is its gradient; empty in the forward pass.
    """

    sweeps: tuple[tuple[int, ...], ...]
    written: int
    summed: Mapping[str, int]


@dataclass(frozen=True)
class RowPlan:
    """How `weight · graph + bias` and its gradients are computed, row by row.

    Attributes:
        graph: the layer before its affine.
        nodes: `nodes[i]` is node i + 4; means over a row and over groups are the only statistics among them.
        extents: the axes that each node varies over, inputs first.
        output: the node that is the graph's value.
        forward, backward: the two passes.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    extents: tuple[Extent, ...]
    output: int
    forward: RowPass
    backward: RowPass

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """None: means over a row and over groups are the only statistics among the nodes."""
        return ()

    @cached_property
    def has_groups(self) -> bool:
        """Whether a statistic is taken over the groups of a row, so that sweeps go over one group after another."""
        return bool(self.group_means)

    @cached_property
    def is_uniform(self) -> bool:
        """Whether statistics are taken over rows alone, or over groups alone, so that each can be a row of its own."""
        found = {n for one in (self.forward, self.backward) for sweep in one.sweeps for n in sweep}
        return not self.group_means or found == set(self.group_means)

    @cached_property
    def group_means(self) -> tuple[int, ...]:
        """The means over groups that either pass finds, each of which is one number for each group."""
        found = [n for one in (self.forward, self.backward) for sweep in one.sweeps for n in sweep]
        return tuple(dict.fromkeys(n for n in found if self.nodes[n - FIRST].op == GROUP_MEAN))

    def varies_in_sweep(self, number: int) -> bool:
        """Whether a node has a value for each channel of a row, or of a group where sweeps go over groups."""
        return bool(self.extents[number] & (Extent.MEMBER if self.has_groups else Extent.CHANNEL))

    def name_of(self, number: int) -> str:
        """The name of an input, or the operation of a node."""
        return INPUTS[number] if number < FIRST else self.nodes[number - FIRST].op

    def is_loaded(self, number: int) -> bool:
        """Whether a node is read from memory: x, dy, the weight, or a parameter."""
        name = self.name_of(number)
        leaf = leaf_named(name)
        return name in (DY, WEIGHT) or (leaf is not None and leaf.value is None)

    def arguments(self, number: int) -> tuple[int, ...]:
        """The nodes that a node is computed from: none for leaves and for means, which sweeps find."""
        if number < FIRST or self.nodes[number - FIRST].op in (ROW_MEAN, GROUP_MEAN):
            return ()
        return self.nodes[number - FIRST].args

    def __str__(self) -> str:
        lines = [f"layer     {self.graph.written()}, row by row"]
        lines += _described(self, "forward", "x", self.forward, "y", ", times weight, plus bias")
        lines += _described(self, "backward", "x and dy", self.backward, "dx", "")
        lines.append("traffic   forward 2 S, backward 3 S, S being the size of x; a row stays in the cache")
        return "\n".join(lines)


def row_plan_of(graph: Graph) -> RowPlan:
    """The plan of a layer of the kind `PlanKind.ROWS` (`evonas.kernels.plan.kind`).

    Args:
        graph: the layer before its affine.
    """
    r = rewriter(OPERATIONS)
    output = _lowered_names(r, graph)
    leaves = {leaf.name: r.add(leaf.name) for leaf in graph.parameters}
    dy, weight = r.leaf(DY, Extent.FULL), r.leaf(WEIGHT, Extent.CHANNEL)
    adjoints = pull(r, output, r.add("mul", weight, dy), lambda number: True)
    summed = {name: adjoints.get(number, ZERO) for name, number in leaves.items()}
    summed |= {"weight": r.add("mul", dy, output), "bias": dy}
    lowering = _Lowering(r)
    value, dx = lowering.of(output), lowering.of(adjoints.get(X, ZERO))
    gradients = {name: lowering.of(number) for name, number in summed.items()}
    return RowPlan(
        graph=graph,
        nodes=tuple(r.builder.nodes),
        extents=tuple(r.extents),
        output=value,
        forward=_pass(r, value, {}),
        backward=_pass(r, dx, gradients),
    )


def _lowered_names(r: Rewriter, graph: Graph) -> int:
    """Adds the nodes of a graph, whose statistics become those over the channels that they really reduce."""
    numbers: dict[int, int] = {}
    for number in graph.live:
        leaf = graph.leaf(number)
        if leaf is not None:
            numbers[number] = r.add(leaf.name)
            continue
        name, args = graph.node(number)
        op, arguments = OPERATIONS[name], [numbers[a] for a in args]
        if op.moment is None or op.index_set is None:
            numbers[number] = r.add(name, *arguments)
            continue
        (argument,) = arguments
        reduced = REMOVES[op.index_set] & r.extents[argument]
        if reduced:  # the axes of channels alone, or the layer would be of another kind
            index_set = IndexSet.C if reduced & Extent.GROUP else IndexSet.CG
            numbers[number] = r.add(f"{op.moment.value}_{index_set.value}", argument)
        elif op.moment is Moment.MEAN:
            numbers[number] = argument
        else:
            numbers[number] = r.add("root", ZERO if op.moment is Moment.STD else r.add("square", argument))
    return numbers[graph.output]


class _Lowering:
    """Rewrites nodes so that means are the only statistics among them.

    A factor that is the same for a whole row is taken out of a mean, so that it is multiplied once.
    """

    def __init__(self, r: Rewriter) -> None:
        self.r = r
        self._known: dict[int, int] = {}

    def of(self, number: int) -> int:
        """The node that a node becomes."""
        r = self.r
        for current in in_order([number], lambda n: () if n < FIRST else r.builder.nodes[n - FIRST].args, self._known):
            if current < FIRST or not r.builder.nodes[current - FIRST].args:
                self._known[current] = current
                continue
            name, args = r.builder.nodes[current - FIRST]
            op, arguments = OPERATIONS[name], [self._known[a] for a in args]
            if op.index_set is None or op.moment is None:
                self._known[current] = r.add(name, *arguments)
            else:
                self._known[current] = self._moment(op.moment, op.index_set, arguments[0])
        return self._known[number]

    def _moment(self, moment: Moment, index_set: IndexSet, argument: int) -> int:
        r = self.r
        if moment is Moment.MEAN:
            return self._mean(index_set, argument)
        if moment is Moment.STD:
            argument = r.add("add", argument, r.add("neg", self._mean(index_set, argument)))
        return r.add("root", self._mean(index_set, r.add("square", argument)))

    def _mean(self, index_set: IndexSet, argument: int) -> int:
        r, swept = self.r, REMOVES[index_set]
        factor, rest = factored(r, argument, swept)
        if not r.extents[rest] & swept:
            return r.add("mul", factor, rest)
        return r.add("mul", factor, r.add(f"mean_{index_set.value}", rest))


def _pass(r: Rewriter, written: int, summed: Mapping[str, int]) -> RowPass:
    """The sweeps of a pass: a mean belongs to the sweep after those of all means that it depends on."""
    nodes = r.builder.nodes
    after: dict[int, int] = {}
    sweeps: dict[int, list[int]] = {}

    def arguments(number: int) -> tuple[int, ...]:
        return () if number < FIRST else nodes[number - FIRST].args

    for number in in_order([written, *summed.values()], arguments):
        latest = max((after[a] for a in arguments(number)), default=0)
        if number >= FIRST and nodes[number - FIRST].op in (ROW_MEAN, GROUP_MEAN):
            latest += 1
            sweeps.setdefault(latest, []).append(number)
        after[number] = latest
    return RowPass(tuple(tuple(sweeps[i]) for i in sorted(sweeps)), written, dict(summed))


def _described(plan: RowPlan, title: str, reads: str, one: RowPass, result: str, affine: str) -> list[str]:
    """The lines that say what a pass computes; a mean that an earlier line finds is written by its name."""
    names: dict[int, str] = {}
    lines: list[str] = []
    for sweep in one.sweeps:
        found = {n: f"m{len(names) + i + 1}" for i, n in enumerate(sweep)}
        values = {found[n]: plan.nodes[n - FIRST].args[0] for n in sweep}
        text = _listed(plan, values, names)
        for n in sweep:
            kind = "mean of each group of" if plan.nodes[n - FIRST].op == GROUP_MEAN else "mean of"
            text = [line.replace(f"{found[n]} = ", f"{found[n]} = {kind} ", 1) for line in text]
        lines += text
        names |= found
    lines += [line + affine for line in _listed(plan, {result: one.written}, names)]
    lines += _listed(plan, {f"d_{name} sums": node for name, node in one.summed.items()}, names) if one.summed else []
    return [f"{title if not i else '':<10}{line}" for i, line in enumerate([f"reads {reads}", *lines])]


def _listed(plan: RowPlan, values: Mapping[str, int], names: Mapping[int, str]) -> Sequence[str]:
    return listing(plan.nodes, values, names)


def needed_means(plan: RowPlan, wanted: Iterable[int]) -> list[int]:
    """The means that some nodes depend on, in an order in which they can be computed."""
    nodes = plan.nodes
    order = in_order(wanted, plan.arguments)
    return [n for n in order if n >= FIRST and nodes[n - FIRST].op in (ROW_MEAN, GROUP_MEAN)]
