"""From a graph to its plan.

Forward: the argument of every statistic is written as scale · atom + shift with coefficients that are constant on
planes, so that the moments of its planes follow from those of the atom, and a normalisation of a normalisation costs
no sweep. An atom is swept as soon as the statistics inside of it are known.

Backward: adjoints are linear in their seeds. From the output, with dy, and from the argument of every statistic, with
the derivative of its moment, the rows' derivatives lead back to x, to the parameters and to earlier statistics,
through element-wise values only. What reaches a statistic from each seed is averaged over planes in one sweep, since
none of it depends on any statistic's adjoint. The adjoints then follow from one another, last to first, by arithmetic
on numbers of each plane, and a second sweep writes dx.
"""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan, Statistic, Taken
from evonas.kernels.plan.plane_algebra import affine, factored, is_elementwise
from evonas.language.differentiate import DY, WEIGHT, pull
from evonas.language.graph import FIRST, INPUTS, V0, V1, ZERO, Graph, X
from evonas.language.primitive_table import OPERATIONS, IndexSet, Moment
from evonas.language.simplify import rewriter
from evonas.language.varying_axes import Extent, is_constant_over

_OF_PLANES = Extent.BATCH | Extent.CHANNEL


class Planner:
    """Plans one layer; see the module. The arguments are those of `plan_of`."""

    def __init__(self, graph: Graph, training: bool) -> None:
        self.graph, self.training = graph, training
        self.r = rewriter(OPERATIONS)
        self.r.load(graph.nodes, training)
        self.statistics: dict[int, Statistic] = {}
        self.atoms: dict[int, tuple[int, Taken]] = {}  # by value: its sweep, and what that takes
        self.sweep_of: dict[int, int] = {}  # of the leaves of atoms
        self.totals: dict[int, Taken] = {}

    def plan(self) -> Plan:
        """The plan; to be called once."""
        self._require(self.graph.output)
        rates, dx, densities = self._backward()
        sweep_of = [sweep for sweep, _ in self.atoms.values()]
        sweeps = [[t for sweep, t in self.atoms.values() if sweep == i + 1] for i in range(max(sweep_of, default=0))]
        return Plan(
            graph=self.graph,
            training=self.training,
            nodes=tuple(self.r.builder.nodes),
            extents=tuple(self.r.extents),
            sweeps=tuple(tuple(taken) for taken in sweeps),
            statistics=tuple(self.statistics.values()),
            output=self.graph.output,
            totals=tuple(self.totals.values()),
            rates=rates,
            dx=dx,
            densities=densities,
            saved=self._saved([dx, *rates.values(), *densities.values(), *self.totals]),
        )

    def _require(self, number: int) -> int:
        """Plans the statistics that a node depends on; the sweep after which it can be computed."""
        after, stack, seen = 0, [number], set[int]()
        while stack:
            current = stack.pop()
            if current < FIRST or current in seen:
                continue
            seen.add(current)
            if self._is_statistic(current):
                if current not in self.statistics:
                    self._plan_statistic(current)
                after = max(after, self.statistics[current].after)
            else:
                after = max(after, self.sweep_of.get(current, 0))
                stack += self.r.builder.nodes[current - FIRST].args
        return after

    def _is_statistic(self, number: int) -> bool:
        op = self.r.op(number)
        return op is not None and op.is_aggregation and not op.of_planes

    def _plan_statistic(self, number: int) -> None:
        op, argument = self.r.op(number), self.r.argument(number)
        assert op is not None and op.moment is not None and op.index_set is not None  # it is an aggregation
        raw = None
        if op.index_set is not IndexSet.BWH or self.training:
            raw = self._raw(op.moment, op.index_set, argument)
        after = 0 if raw is None else self._require(raw)
        self.statistics[number] = Statistic(number, op.moment, op.index_set, self.r.extents[number], raw, after)

    def _raw(self, moment: Moment, index_set: IndexSet, argument: int) -> int:
        """The node of a raw moment, by the law of total variance over the planes of a cell."""
        r = self.r
        scale, atom, mean = affine(r, argument)
        variance = ZERO
        if atom is not None:
            taken = self._swept(atom)
            mean = r.add("add", r.add("mul", scale, taken.mean), mean)
            variance = r.add("mul", r.add("square", scale), taken.variance)
        if moment is Moment.MEAN:
            return self._over(index_set, mean)
        if moment is Moment.RMS:
            return self._over(index_set, r.add("add", variance, r.add("square", mean)))
        if index_set is IndexSet.WH:
            return variance
        between = r.add("square", r.add("add", mean, r.add("neg", self._centre(index_set, argument))))
        return self._over(index_set, r.add("add", variance, between))

    def _over(self, index_set: IndexSet, value: int) -> int:
        """The mean over the planes of a cell of what is constant on planes."""
        if is_constant_over(self.r.extents[value], index_set):
            return value
        return self.r.add(f"planes_{index_set.value}", value)

    def _centre(self, index_set: IndexSet, argument: int) -> int:
        """The mean that deviations are taken from."""
        centre = self.r.add(f"mean_{index_set.value}", argument)
        self._require(centre)
        return centre

    def _swept(self, atom: int) -> Taken:
        if atom not in self.atoms:
            sweep, number = 1 + self._require(atom), len(self.atoms) + 1
            taken = Taken(atom, self.r.leaf(f"mean{number}", _OF_PLANES), self.r.leaf(f"var{number}", _OF_PLANES))
            self.atoms[atom] = (sweep, taken)
            self.sweep_of[taken.mean] = self.sweep_of[taken.variance] = sweep
        return self.atoms[atom][1]

    def _backward(self) -> tuple[dict[int, int], int, dict[str, int]]:
        """The rates of the statistics, dx and the densities of the parameters."""
        r, output = self.r, self.graph.output
        dy, weight = r.leaf(DY, Extent.FULL), r.leaf(WEIGHT, Extent.CHANNEL)
        gains: dict[int, int] = {}  # of statistics and parameters on planes, of x at each position
        self._spread(gains, output, r.add("mul", weight, dy), r.one())
        rates = {}
        for number, statistic in reversed(list(self.statistics.items())):
            if statistic.raw is None or gains.get(number, ZERO) == ZERO:
                continue
            argument = r.argument(number)
            rate = self._over(statistic.index_set, gains[number])
            seed = r.one()
            if statistic.moment is not Moment.MEAN:
                rate, seed = r.add("div", rate, number), argument
            if statistic.moment is Moment.STD:
                seed = r.add("add", argument, r.add("neg", self._centre(statistic.index_set, argument)))
            rates[number] = rate
            self._spread(gains, argument, seed, rate)
        densities = {INPUTS[v]: gains.get(v, ZERO) for v in (V0, V1) if v in self.graph.live}
        densities |= {"weight": self._mean(r.add("mul", dy, output)), "bias": self._mean(dy)}
        return rates, gains.get(X, ZERO), densities

    def _spread(self, gains: dict[int, int], root: int, seed: int, rate: int) -> None:
        """Adds what statistics, parameters and x gain when `root` has the adjoint rate · seed."""
        r = self.r
        adjoints = pull(r, root, seed, lambda number: not self._is_statistic(number))
        for number, adjoint in adjoints.items():
            if number == X or number in (V0, V1) or self._is_statistic(number):
                gained = r.add("mul", rate, adjoint if number == X else self._mean(adjoint))
                gains[number] = r.add("add", gains.get(number, ZERO), gained)

    def _mean(self, value: int) -> int:
        """The mean of a value on every plane; what varies within planes joins the reduction sweep."""
        plane, rest = factored(self.r, value)
        if not is_elementwise(self.r, rest):
            return self.r.add("mul", plane, rest)
        if rest not in self.totals:
            self.totals[rest] = Taken(rest, self.r.leaf(f"total{len(self.totals) + 1}", _OF_PLANES))
        return self.r.add("mul", plane, self.totals[rest].mean)

    def _saved(self, used: list[int]) -> tuple[int, ...]:
        """The statistics among what some nodes depend on."""
        stack, seen = list(used), set[int]()
        while stack:
            current = stack.pop()
            if current >= FIRST and current not in seen:
                seen.add(current)
                if current not in self.statistics:
                    stack += self.r.builder.nodes[current - FIRST].args
        return tuple(number for number in self.statistics if number in seen)
