"""What the kernels of a layer have in common: arguments, addresses, loads, and what each program owns."""

from __future__ import annotations

import re

from evonas.derive import DY, WEIGHT
from evonas.graph import FIRST, INPUTS, V0, V1, X
from evonas.kernels.body import Body, Level
from evonas.kernels.dialects import TRITON
from evonas.kernels.plan import Plan
from evonas.kernels.schedule import backward_joins, forward_joins
from evonas.kernels.slots import Slots
from evonas.ops import DERIVED, IndexSet, Moment

ARGUMENTS = (
    *("x_ptr", "dy_ptr", "y_ptr", "dx_ptr", "v0_ptr", "v1_ptr", "weight_ptr", "bias_ptr"),
    *("stats_ptr", "totals_ptr", "densities_ptr"),
    *("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p", "eps", "momentum", "unbias"),
)
"""Every argument that a kernel may have, in order; then come running values, and R, BLOCK and such as constants."""

JOINED = {IndexSet.BWH: "batch", IndexSet.WHCG: "group", IndexSet.WHC: "layer"}
"""What a cell of an index set is called."""


class Kernels:
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

    def store_densities(self, body: Body) -> None:
        """Stores the sums of the parameters' gradients over each plane."""
        body.rows(self.plan.densities.values())
        for row, node in enumerate(self.plan.densities.values()):
            value = f"({body.row(node)} + tl.zeros([R], tl.float32)) * HW"
            body.line(f"tl.store(densities_ptr + {row} * planes + plane, {value}, mask=inside)")

    def owning_planes(self) -> Body:
        """The head of a kernel whose programs own R channels of a sample."""
        body = Body(self.plan, TRITON)
        body.line("tiles = tl.cdiv(C, R)")
        body.line("b = (tl.program_id(0) // tiles).to(tl.int64)")
        body.line("c = tl.program_id(0) % tiles * R + tl.arange(0, R)")
        body.line("inside = c < C")
        body.line("plane = b * C + c")
        return body

    def locate(self, body: Body) -> None:
        """Where the program's rows start: 64 bits to the sample, and 32 inside of it, which take half the registers."""
        body.line("sample = b * stride_b")
        body.line("rows = c * stride_c")

    def load_tiles(self, body: Body, reads_dy: bool, offset: str = "") -> None:
        """Loads x, and dy, at BLOCK positions from an offset on."""
        body.line(f"p = {offset}tl.arange(0, BLOCK)")
        body.line("here = inside[:, None] & (p < HW)[None, :]")
        body.line("at = rows[:, None] + (p * stride_p)[None, :]")
        body.line("x = tl.load(x_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
        body.name(X, "x", Level.TILE)
        if reads_dy:
            body.line("dy = tl.load(dy_ptr + sample + at, mask=here, other=0.0).to(tl.float32)")
            leaf = next((n for n, node in enumerate(self.plan.nodes, FIRST) if node.op == DY), None)
            assert leaf is not None  # every plan has one
            body.name(leaf, "dy", Level.TILE)

    def load_rows(self, body: Body, wanted: list[int], without: set[int] | frozenset[int] = frozenset()) -> None:
        """Loads what some nodes depend on that is constant on planes."""
        for number in body.reached(wanted):
            if self.plan.varies(number) or number in without:
                continue
            name = body.fresh(self.leaf(number))
            address = f"{self.address(number)} + {self.index(number)}"
            body.line(f"{name} = tl.load({address}, mask=inside, other=0.0).to(tl.float32)")
            if number in body.statistics and body.statistics[number].moment is not Moment.MEAN:
                body.line(f"{name} = tl.sqrt_rn({name} + eps)")  # a running value
            body.name(number, name, Level.ROW)

    def leaf(self, number: int) -> str:
        """What a kernel calls a value that it is given or takes."""
        if number < FIRST:
            return INPUTS[number]
        op = self.plan.nodes[number - FIRST].op
        if op in DERIVED and DERIVED[op].of_planes:
            index_set = DERIVED[op].index_set
            assert index_set is not None  # it reduces
            return f"{JOINED[index_set]}_mean"
        return DERIVED[op].noun if op in DERIVED else op

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


def kernel(name: str, body: Body, *constants: str) -> str:
    """The source of a kernel, with those arguments that it uses."""
    text = "\n".join(body.lines)
    used = [a for a in ARGUMENTS if re.search(rf"\b{a}\b", text)]
    used += sorted(set(re.findall(r"\brunning_\w+_ptr\b", text)))
    signature = ", ".join([*used, *(f"{c}: tl.constexpr" for c in constants)])
    return f"@triton.jit\ndef {name}({signature}):\n{text}\n"
