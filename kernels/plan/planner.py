"""Plans a layer: from a graph to its plan.

Forward: the argument of every statistic is written as scale · atom + shift with coefficients that are constant on
planes. The moments of its planes then follow from those of the atom, and a normalisation of a normalisation costs no
sweep. An atom is swept as soon as the statistics that it depends on are known.

Backward: adjoints are linear in their seeds. They are propagated by the derivatives of the primitives, through values
that vary within planes only, from the output, with dy as the seed, and from the argument of every statistic, with the
derivative of its moment as the seed. They reach x, the parameters and earlier statistics. What reaches a statistic from
each seed is averaged over planes in one sweep, since none of it depends on the adjoint of any statistic. The adjoints
then follow from one another, last to first, by arithmetic on one number for each plane, and a second sweep writes dx.
"""

from __future__ import annotations

from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.plan.plan import Plan, Statistic, SweptValue
from evonas.kernels.plan.plane_algebra import affine, factored, varies_within_planes
from evonas.kernels.plan.walk import in_order
from evonas.language.differentiate import DY, WEIGHT, pull
from evonas.language.graph import FIRST, ZERO, Graph, X
from evonas.language.primitive_table import OPERATIONS, IndexSet, Moment
from evonas.language.simplify import rewriter
from evonas.language.varying_axes import Extent, is_constant_over

_OF_PLANES = Extent.BATCH | Extent.CHANNEL
_OVER_PLANES = {IndexSet.C: IndexSet.WHC, IndexSet.CG: IndexSet.WHCG}
"""The same statistics of values that are constant on planes; of others there is no plan here (`kind.py`)."""


def plan_of(graph: Graph, training: bool = True) -> Plan:
    """The plan of a layer.

    Args:
        graph: the layer before its affine; its nodes keep their numbers.
        training: whether statistics over the batch are computed from the input; otherwise their running values are
            inputs of the kernels.

    Raises:
        ValueError: for a layer with statistics at single positions, which planes do not give.
    """
    if PlanKind.PLANES not in kinds_of(graph):
        raise ValueError(f"{graph.written()} has statistics at single positions, so it has no plan over planes")
    return Planner(graph, training).plan()


class Planner:
    """Plans one layer as the module's docstring describes; the arguments are those of `plan_of`."""

    def __init__(self, graph: Graph, training: bool) -> None:
        self.graph, self.training = graph, training
        self.r = rewriter(OPERATIONS)
        self.r.load(graph.nodes, training)
        leaves = {number: graph.leaf(number) for number in graph.live}
        self.parameters = {n: leaf.name for n, leaf in leaves.items() if leaf is not None and leaf.is_parameter}
        self.statistics: dict[int, Statistic] = {}
        self.atoms: dict[int, tuple[int, SweptValue]] = {}  # by node: the number of its sweep, and its moments
        self.sweep_of: dict[int, int] = {}  # for the leaves of atoms
        self.totals: dict[int, SweptValue] = {}

    def plan(self) -> Plan:
        """The plan; call this only once."""
        self._require(self.graph.output)
        factors, dx, densities = self._backward()
        sweep_of = [sweep for sweep, _ in self.atoms.values()]
        sweeps = [[t for sweep, t in self.atoms.values() if sweep == i + 1] for i in range(max(sweep_of, default=0))]
        return Plan(
            graph=self.graph,
            training=self.training,
            nodes=tuple(self.r.builder.nodes),
            extents=tuple(self.r.extents),
            sweeps=tuple(tuple(sweep) for sweep in sweeps),
            statistics=tuple(self.statistics.values()),
            output=self.graph.output,
            totals=tuple(self.totals.values()),
            adjoint_factors=factors,
            dx=dx,
            densities=densities,
            saved=self._saved([dx, *factors.values(), *densities.values(), *self.totals]),
        )

    def _require(self, number: int) -> int:
        """Plans the statistics that a node depends on; returns the number of the sweep after which it is known."""
        after = 0
        # The last argument first: this order decides that of the plan's statistics, which recorded plans show.
        for current in in_order([number], lambda n: self._arguments(n)[::-1]):
            if self._is_statistic(current):
                if current not in self.statistics:
                    self._plan_statistic(current)
                after = max(after, self.statistics[current].after)
            else:
                after = max(after, self.sweep_of.get(current, 0))
        return after

    def _arguments(self, number: int) -> tuple[int, ...]:
        """The arguments of a node, up to statistics, which are planned separately."""
        return () if number < FIRST or self._is_statistic(number) else self.r.builder.nodes[number - FIRST].args

    def _is_statistic(self, number: int) -> bool:
        op = self.r.op(number)
        return op is not None and op.is_aggregation and not op.of_planes

    def _plan_statistic(self, number: int) -> None:
        op, argument = self.r.op(number), self.r.argument(number)
        assert op is not None and op.moment is not None and op.index_set is not None  # it is an aggregation
        index_set = _OVER_PLANES.get(op.index_set, op.index_set)
        raw = None
        if index_set is not IndexSet.BWH or self.training:
            raw = self._raw(op.moment, index_set, argument)
        after = 0 if raw is None else self._require(raw)
        self.statistics[number] = Statistic(number, op.moment, index_set, self.r.extents[number], raw, after)

    def _raw(self, moment: Moment, index_set: IndexSet, argument: int) -> int:
        """The node of a raw moment of a cell, from the moments of its planes by the law of total variance."""
        r = self.r
        scale, atom, mean = affine(r, argument)
        variance = ZERO
        if atom is not None:
            swept = self._swept(atom)
            mean = r.add("add", r.add("mul", scale, swept.mean), mean)
            variance = r.add("mul", r.add("square", scale), swept.variance)
        if moment is Moment.MEAN:
            return self._over(index_set, mean)
        if moment is Moment.RMS:
            return self._over(index_set, r.add("add", variance, r.add("square", mean)))
        if index_set is IndexSet.WH:
            return variance
        between = r.add("square", r.add("add", mean, r.add("neg", self._centre(index_set, argument))))
        return self._over(index_set, r.add("add", variance, between))

    def _over(self, index_set: IndexSet, value: int) -> int:
        """The mean, over the planes of a cell, of a value that is constant on planes."""
        if is_constant_over(self.r.extents[value], index_set):
            return value
        return self.r.add(f"planes_{index_set.value}", value)

    def _centre(self, index_set: IndexSet, argument: int) -> int:
        """The mean from which deviations are measured."""
        centre = self.r.add(f"mean_{index_set.value}", argument)
        self._require(centre)
        return centre

    def _swept(self, atom: int) -> SweptValue:
        """The moments of an atom, which is given a sweep if it has none yet."""
        if atom not in self.atoms:
            sweep, number = 1 + self._require(atom), len(self.atoms) + 1
            mean, variance = (self.r.leaf(f"{moment}{number}", _OF_PLANES) for moment in ("mean", "var"))
            self.atoms[atom] = (sweep, SweptValue(atom, mean, variance))
            self.sweep_of[mean] = self.sweep_of[variance] = sweep
        return self.atoms[atom][1]

    def _backward(self) -> tuple[dict[int, int], int, dict[str, int]]:
        """The adjoint factors of the statistics, dx, and the densities of the parameters."""
        r, output = self.r, self.graph.output
        dy, weight = r.leaf(DY, Extent.FULL), r.leaf(WEIGHT, Extent.CHANNEL)
        # Adjoints found so far: those of statistics and parameters as means over planes, that of x at each position.
        gains: dict[int, int] = {}
        self._spread(gains, output, r.add("mul", weight, dy), r.one())
        factors = {}
        for number, statistic in reversed(list(self.statistics.items())):
            if statistic.raw is None or gains.get(number, ZERO) == ZERO:
                continue
            argument = r.argument(number)
            factor = self._over(statistic.index_set, gains[number])
            seed = r.one()
            if statistic.moment is not Moment.MEAN:
                factor, seed = r.add("div", factor, number), argument
            if statistic.moment is Moment.STD:
                seed = r.add("add", argument, r.add("neg", self._centre(statistic.index_set, argument)))
            factors[number] = factor
            self._spread(gains, argument, seed, factor)
        densities = {name: gains.get(number, ZERO) for number, name in self.parameters.items()}
        densities |= {"weight": self._mean(r.add("mul", dy, output)), "bias": self._mean(dy)}
        return factors, gains.get(X, ZERO), densities

    def _spread(self, gains: dict[int, int], root: int, seed: int, factor: int) -> None:
        """Adds to the adjoints of statistics, parameters and x what an adjoint factor · seed of `root` contributes."""
        r = self.r
        adjoints = pull(r, root, seed, lambda number: not self._is_statistic(number))
        for number, adjoint in adjoints.items():
            if number == X or number in self.parameters or self._is_statistic(number):
                gained = r.add("mul", factor, adjoint if number == X else self._mean(adjoint))
                gains[number] = r.add("add", gains.get(number, ZERO), gained)

    def _mean(self, value: int) -> int:
        """The mean of a value on every plane; a factor that varies within planes is added to the reduction sweep."""
        plane, rest = factored(self.r, value)
        if not varies_within_planes(self.r, rest):
            return self.r.add("mul", plane, rest)
        if rest not in self.totals:
            self.totals[rest] = SweptValue(rest, self.r.leaf(f"total{len(self.totals) + 1}", _OF_PLANES))
        return self.r.add("mul", plane, self.totals[rest].mean)

    def _saved(self, used: list[int]) -> tuple[int, ...]:
        """The statistics that some nodes depend on."""
        below = set(in_order(used, self._arguments))
        return tuple(number for number in self.statistics if number in below)
