"""The order in which the kernels of a plan run: sweeps, reductions across planes, and the sweep that writes.

The Triton printer, the C++ printer and exported files all follow this one list.

A *reduction across planes* takes the mean, over the planes of a cell, of a value that is constant on each plane.
Reductions over the same index set that follow one another run in one kernel, which goes over each cell once for each
of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from evonas.kernels.plan.plan import Plan, SweptValue
from evonas.kernels.plan.walk import in_order
from evonas.language.graph import FIRST
from evonas.language.primitive_table import OPERATIONS, IndexSet


@dataclass(frozen=True, slots=True)
class PlaneReduction:
    """One kernel that reduces across planes.

    Attributes:
        index_set: the index set whose cells it reduces.
        nodes: the nodes that it computes; each may depend on those before it.
        after: the number of the sweep that it follows; 0 if it precedes all of them.
        running: the statistics over the batch that are known with it, and whose running values it updates.
    """

    index_set: IndexSet
    nodes: tuple[int, ...]
    after: int
    running: tuple[int, ...] = ()


class StepKind(Enum):
    """What a step of a schedule does."""

    SWEEP = "reduces values of x, or of x and dy, on every plane"
    REDUCTION = "reduces across planes"
    WRITE = "writes y"
    WRITE_BACK = "writes dx and the densities of the parameters"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a pass, which every printer turns into one kernel or function.

    Attributes:
        kind: what it does.
        name: what generated code calls it.
        swept: the values that a sweep reduces; in `WRITE_BACK`, the totals that it finds on the way.
        reduction: the reduction across planes, for a step of that kind.
        merge: the name of the kernel that merges the results of a sweep where several programs share a plane.
    """

    kind: StepKind
    name: str
    swept: tuple[SweptValue, ...] = ()
    reduction: PlaneReduction | None = None
    merge: str | None = None

    @property
    def spans_batch(self) -> bool:
        """Whether it needs every sample of the batch at once."""
        return self.reduction is not None and self.reduction.index_set is IndexSet.BWH


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a layer's two passes, each in the order in which they run."""

    forward: tuple[Step, ...]
    backward: tuple[Step, ...]

    @property
    def forward_reductions(self) -> tuple[PlaneReduction, ...]:
        """The reductions across planes of the forward pass."""
        return _reductions(self.forward)

    @property
    def backward_reductions(self) -> tuple[PlaneReduction, ...]:
        """The reductions across planes of the backward pass."""
        return _reductions(self.backward)


def schedule_of(plan: Plan) -> Schedule:
    """The steps of a plan."""
    # Generated code calls a reduction across planes `join`; exported files keep that name.
    forward: list[Step] = []
    reductions = forward_reductions(plan)
    numbered = [(reduction.after, _reduction_step(f"join_{n}", reduction)) for n, reduction in enumerate(reductions, 1)]
    for after in range(len(plan.sweeps) + 1):
        if after:
            swept = plan.sweeps[after - 1]
            forward.append(Step(StepKind.SWEEP, f"sweep_{after}", swept, merge=f"merge_{after}"))
        forward += [step for needed, step in numbered if needed == after]
    forward.append(Step(StepKind.WRITE, "write"))
    if plan.one_sweep_back:
        return Schedule(tuple(forward), (Step(StepKind.WRITE_BACK, "write_back", plan.totals),))
    backward = [Step(StepKind.SWEEP, "total", plan.totals, merge="merge_total")]
    between = _backward_reductions(plan, reductions)
    backward += [_reduction_step(f"join_back_{n}", reduction) for n, reduction in enumerate(between, 1)]
    backward.append(Step(StepKind.WRITE_BACK, "write_back"))
    return Schedule(tuple(forward), tuple(backward))


def forward_reductions(plan: Plan) -> tuple[PlaneReduction, ...]:
    """The reductions across planes of the forward pass, with the running values that each updates in training."""
    wanted = [s.raw for s in plan.statistics if s.raw is not None]
    sweep_of = {leaf: number for number, sweep in enumerate(plan.sweeps, 1) for swept in sweep for leaf in swept.leaves}
    reductions = _grouped(plan, wanted, sweep_of)
    if not plan.training:
        return reductions
    batch = {s.node: s.raw for s in plan.statistics if s.index_set is IndexSet.BWH and s.node in plan.graph.live}
    updating = [replace(r, running=tuple(node for node, raw in batch.items() if raw in r.nodes)) for r in reductions]
    left = tuple(node for node, raw in batch.items() if not any(raw in r.nodes for r in reductions))
    if left:  # statistics over the batch of values that do not vary over it, so that nothing is reduced
        updating.append(PlaneReduction(IndexSet.BWH, (), len(plan.sweeps), left))
    return tuple(updating)


def _backward_reductions(plan: Plan, forward: tuple[PlaneReduction, ...]) -> tuple[PlaneReduction, ...]:
    """The reductions across planes between the two sweeps of the backward pass."""
    known = {n for reduction in forward for n in reduction.nodes}
    return _grouped(plan, list(plan.adjoint_factors.values()), {}, known)


def _grouped(
    plan: Plan, wanted: list[int], sweep_of: Mapping[int, int], known: Collection[int] = ()
) -> tuple[PlaneReduction, ...]:
    """The means across planes that some nodes depend on, without the known ones, grouped into few kernels.

    Args:
        plan: the plan of the layer.
        wanted: the nodes.
        sweep_of: the number of the sweep that finds each leaf.
        known: means across planes that an earlier pass has found.
    """
    means = [n for n in in_order(wanted, plan.arguments) if _is_mean_across_planes(plan, n) and n not in known]
    after = {n: max((sweep_of.get(below, 0) for below in in_order([n], plan.arguments)), default=0) for n in means}
    reductions: list[PlaneReduction] = []
    for node in sorted(means, key=after.__getitem__):  # stable, so that each still follows what it depends on
        index_set = OPERATIONS[plan.nodes[node - FIRST].op].index_set
        assert index_set is not None  # a mean across planes has one
        if reductions and (reductions[-1].index_set, reductions[-1].after) == (index_set, after[node]):
            reductions[-1] = PlaneReduction(index_set, (*reductions[-1].nodes, node), after[node])
        else:
            reductions.append(PlaneReduction(index_set, (node,), after[node]))
    return tuple(reductions)


def _is_mean_across_planes(plan: Plan, number: int) -> bool:
    op = OPERATIONS.get(plan.nodes[number - FIRST].op) if number >= FIRST else None
    return op is not None and op.of_planes


def _reduction_step(name: str, reduction: PlaneReduction) -> Step:
    return Step(StepKind.REDUCTION, name, reduction=reduction)


def _reductions(steps: tuple[Step, ...]) -> tuple[PlaneReduction, ...]:
    return tuple(step.reduction for step in steps if step.reduction is not None)
