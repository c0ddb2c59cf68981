"""Where kernels find what is constant on planes: the layout of their buffers, and what they call it."""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan
from evonas.kernels.plan.schedule import backward_joins, forward_joins
from evonas.kernels.printing.buffer_layout import Slots
from evonas.language.differentiate import WEIGHT
from evonas.language.graph import FIRST, INPUTS, V0, V1
from evonas.language.primitive_table import OPERATIONS, IndexSet

JOINED = {IndexSet.BWH: "batch", IndexSet.WHCG: "group", IndexSet.WHC: "layer"}
"""What a cell of an index set is called."""


class Buffers:
    """What every writer of kernels for one plan knows.

    Args:
        plan: of the layer.
        running: the name of the running value of each statistic over the batch, by node.

    Attributes:
        stats: what the forward pass finds and the backward pass needs.
        sums: what the backward pass finds on its way.
        densities: names of the parameters, in the order of the rows of their buffer.
    """

    def __init__(self, plan: Plan, running: dict[int, str]) -> None:
        self.plan, self.running = plan, running
        self.forward_joins, self.backward_joins = forward_joins(plan), backward_joins(plan)
        self.densities = tuple(plan.densities)
        taken = [n for sweep in plan.sweeps for t in sweep for n in (t.mean, t.variance)]
        saved = [*taken, *(n for join in self.forward_joins for n in join.nodes)]
        totals = [*(t.mean for t in plan.totals), *(n for join in self.backward_joins for n in join.nodes)]
        self.stats = Slots("stats_ptr", ((n, plan.extents[n]) for n in saved))
        self.sums = Slots("totals_ptr", ((n, plan.extents[n]) for n in totals))

    def leaf(self, number: int) -> str:
        """What a kernel calls a value that it is given or takes."""
        if number < FIRST:
            return INPUTS[number]
        op = self.plan.nodes[number - FIRST].op
        if op in OPERATIONS and OPERATIONS[op].of_planes:
            index_set = OPERATIONS[op].index_set
            assert index_set is not None  # it reduces
            return f"{JOINED[index_set]}_mean"
        return OPERATIONS[op].noun if op in OPERATIONS else op

    def address(self, number: int) -> str:
        """The pointer to the first number of a value that is constant on planes."""
        if number in (V0, V1):
            return f"{INPUTS[number]}_ptr"
        for slots in (self.stats, self.sums):
            if number in slots:
                return slots.address(number)
        if number in self.running:
            return f"{self.running[number]}_ptr"
        assert self.plan.nodes[number - FIRST].op == WEIGHT
        return "weight_ptr"

    def index(self, number: int) -> str:
        """Which of its numbers belongs to channels `c` of samples `b`."""
        for slots in (self.stats, self.sums):
            if number in slots:
                return slots.index(number)
        return "c"
