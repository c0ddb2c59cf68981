"""In which order a streaming layer's kernels run: sweeps, then what joins planes, then the one that writes.

A *join* reduces over the planes of cells what is constant on planes. Joins over the same index set that follow one
another run in one kernel, which goes over each cell as often as there are joins.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from evonas.kernels.plan.plan import Plan, Taken
from evonas.language.graph import FIRST
from evonas.language.primitive_table import OPERATIONS, IndexSet


@dataclass(frozen=True, slots=True)
class Join:
    """One kernel that joins planes.

    Attributes:
        index_set: whose cells.
        nodes: what it computes, each perhaps from those before it.
        after: the sweep that it follows.
        running: statistics over the batch that are known with it, whose running values it updates.
    """

    index_set: IndexSet
    nodes: tuple[int, ...]
    after: int
    running: tuple[int, ...] = ()


def forward_joins(plan: Plan) -> tuple[Join, ...]:
    """The joins of the forward pass."""
    wanted = [s.raw for s in plan.statistics if s.raw is not None]
    joins = _grouped(
        plan, wanted, {t.mean: k for k, t in _numbered(plan)} | {t.variance: k for k, t in _numbered(plan)}
    )
    if not plan.training:
        return joins
    batch = {s.node: s.raw for s in plan.statistics if s.index_set is IndexSet.BWH and s.node in plan.graph.live}
    done = [replace(join, running=tuple(node for node, raw in batch.items() if raw in join.nodes)) for join in joins]
    left = tuple(node for node, raw in batch.items() if not any(raw in join.nodes for join in joins))
    if left:  # statistics over the batch of what does not vary over it
        done.append(Join(IndexSet.BWH, (), len(plan.sweeps), left))
    return tuple(done)


def backward_joins(plan: Plan) -> tuple[Join, ...]:
    """The joins between the two sweeps of the backward pass."""
    known = {n for join in forward_joins(plan) for n in join.nodes}
    return _grouped(plan, [n for n in joined(plan, list(plan.rates.values())) if n not in known], {}, known)


def joined(plan: Plan, wanted: list[int]) -> list[int]:
    """The means over planes that some nodes depend on, in an order in which they can be computed."""
    raw = {s.node: s.raw for s in plan.statistics}
    order: list[int] = []
    seen: set[int] = set()
    stack = [(n, False) for n in reversed(wanted)]
    while stack:
        number, done = stack.pop()
        if done:
            order.append(number)
        elif number >= FIRST and number not in seen:
            seen.add(number)
            stack.append((number, True))
            args = plan.nodes[number - FIRST].args
            given = raw.get(number)
            inner = (() if given is None else (given,)) if number in raw else args
            stack += [(a, False) for a in reversed(inner)]
    return [
        n for n in order if plan.nodes[n - FIRST].op in OPERATIONS and OPERATIONS[plan.nodes[n - FIRST].op].of_planes
    ]


def _numbered(plan: Plan) -> list[tuple[int, Taken]]:
    return [(number, taken) for number, sweep in enumerate(plan.sweeps, 1) for taken in sweep]


def _grouped(plan: Plan, wanted: list[int], sweep_of: dict[int, int], known: Collection[int] = ()) -> tuple[Join, ...]:
    after: dict[int, int] = {}
    joins: list[Join] = []
    nodes = [n for n in joined(plan, wanted) if n not in known]
    for node in nodes:
        after[node] = _after(plan, node, sweep_of)
    for node in sorted(nodes, key=after.__getitem__):  # stable, so that each still follows what it needs
        index_set = OPERATIONS[plan.nodes[node - FIRST].op].index_set
        assert index_set is not None  # it reduces
        if joins and (joins[-1].index_set, joins[-1].after) == (index_set, after[node]):
            joins[-1] = Join(index_set, (*joins[-1].nodes, node), after[node])
        else:
            joins.append(Join(index_set, (node,), after[node]))
    return tuple(joins)


def _after(plan: Plan, node: int, sweep_of: dict[int, int]) -> int:
    raw = {s.node: s.raw for s in plan.statistics}
    latest, stack, seen = 0, [node], set[int]()
    while stack:
        number = stack.pop()
        if number < FIRST or number in seen:
            continue
        seen.add(number)
        latest = max(latest, sweep_of.get(number, 0))
        given = raw.get(number)
        stack += ([] if given is None else [given]) if number in raw else plan.nodes[number - FIRST].args
    return latest
