"""Where kernels find values that are constant on planes: the layout of their buffers, and the names of values."""

from __future__ import annotations

from evonas.kernels.plan.plan import Plan
from evonas.kernels.plan.schedule import schedule_of
from evonas.kernels.printing.buffer_layout import BufferLayout
from evonas.language.differentiate import DY, WEIGHT
from evonas.language.graph import FIRST, INPUTS
from evonas.language.leaf import PARAMETERS, leaf_named
from evonas.language.primitive_table import OPERATIONS, IndexSet, Moment

PARAMETER_POINTERS = (*(f"{leaf.name}_ptr" for leaf in PARAMETERS), "weight_ptr", "bias_ptr")
"""The names of the pointers to the parameters that a layer may have."""
CELL_NAMES = {IndexSet.BWH: "batch", IndexSet.WHCG: "group", IndexSet.WHC: "layer"}
"""What generated code calls a cell of an index set that spans planes."""


class Buffers:
    """What every writer of kernels for one plan has in common.

    Args:
        plan: the plan of the layer.
        running: the name of the running value of each statistic over the batch, by node.

    Attributes:
        schedule: the steps of the plan, in the order in which they run.
        stats: the layout of the numbers that the forward pass leaves for the backward pass.
        sums: the layout of the numbers that the backward pass computes on its way.
        densities: the names of the parameters, in the order of the rows of their buffer.
    """

    def __init__(self, plan: Plan, running: dict[int, str]) -> None:
        self.plan, self.running = plan, running
        self.schedule = schedule_of(plan)
        self.densities = tuple(plan.densities)
        forward, backward = self.schedule.forward_reductions, self.schedule.backward_reductions
        swept = [leaf for sweep in plan.sweeps for value in sweep for leaf in value.leaves]
        saved = [*swept, *(n for reduction in forward for n in reduction.nodes)]
        totals = [*(value.mean for value in plan.totals), *(n for reduction in backward for n in reduction.nodes)]
        self.stats = BufferLayout("stats_ptr", ((n, plan.extents[n]) for n in saved))
        self.sums = BufferLayout("totals_ptr", ((n, plan.extents[n]) for n in totals))

    @property
    def dy(self) -> int:
        """The leaf that stands for dy."""
        return next(n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY)

    def leaf(self, number: int) -> str:
        """What kernels call an input, a leaf, or a statistic."""
        if number < FIRST:
            return INPUTS[number]
        op = self.plan.nodes[number - FIRST].op
        if op in OPERATIONS and OPERATIONS[op].of_planes:
            index_set = OPERATIONS[op].index_set
            assert index_set is not None  # a mean across planes has one
            return f"{CELL_NAMES[index_set]}_mean"
        return OPERATIONS[op].noun if op in OPERATIONS else op

    def reduced(self, node: int) -> int:
        """The node that a mean across planes is the mean of."""
        return self.plan.nodes[node - FIRST].args[0]

    def address(self, number: int) -> str:
        """The pointer to the first number of a value that is constant on planes."""
        name = INPUTS[number] if number < FIRST else self.plan.nodes[number - FIRST].op
        leaf = leaf_named(name)
        if leaf is not None and leaf.is_parameter:
            return f"{name}_ptr"
        for layout in (self.stats, self.sums):
            if number in layout:
                return layout.address(number)
        if number in self.running:
            return f"{self.running[number]}_ptr"
        assert self.plan.nodes[number - FIRST].op == WEIGHT
        return "weight_ptr"

    def index(self, number: int) -> str:
        """The index of a value's number for channels `c` of samples `b`."""
        for layout in (self.stats, self.sums):
            if number in layout:
                return layout.index(number)
        return "c"

    def is_rooted_when_loaded(self, number: int) -> bool:
        """Whether a leaf is the root of the running value that kernels load for it."""
        moment = next((s.moment for s in self.plan.statistics if s.node == number), None)
        return moment not in (None, Moment.MEAN)

    def updated_running_value(self, node: int, old: str, batch: str, one: str) -> str:
        """The new running value of a statistic over the batch, as source.

        Args:
            node: the statistic.
            old: the running value before.
            batch: the raw moment of this batch; variances are made unbiased.
            one: how the language writes the number 1.
        """
        moment = next(s.moment for s in self.plan.statistics if s.node == node)
        unbiased = f"{batch} * unbias" if moment is Moment.STD else batch
        return f"({one} - momentum) * {old} + momentum * {unbiased}"
