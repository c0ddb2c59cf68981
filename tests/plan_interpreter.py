"""Interprets a plan literally in PyTorch: a second opinion when kernels differ from the reference.

It evaluates nodes that vary within planes only inside sweeps, from x, dy and the values that the plan says are known by
then, and all other nodes from values that are constant on planes. So a plan that uses a value too early, or one that
was not saved, fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from evonas.kernels.plan.plan import Plan, Statistic, SweptValue
from evonas.language.differentiate import DY, WEIGHT
from evonas.language.graph import FIRST, X
from evonas.language.node import leaf_at
from evonas.language.primitive_table import OPERATIONS
from evonas.layers.reference import apply, rooted


@dataclass
class PlanInterpreter:
    """Computes one layer on one batch.

    Args:
        plan: the plan to follow.
        x: (b, c, h, w), float64 for comparisons.
        parameters: `v0`, `v1`, `weight` and `bias`, (c,) each; without those that the layer lacks.
        groups: the number of groups, which divides c.
        eps: the layer's epsilon.
        running: in evaluation, the running value of each statistic over the batch, (c,), by node.
    """

    plan: Plan
    x: Tensor
    parameters: Mapping[str, Tensor]
    groups: int
    eps: float = 1e-5
    running: Mapping[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.values = self._start()

    def forward(self) -> Tensor:
        """The layer's value."""
        for sweep in range(len(self.plan.sweeps) + 1):
            if sweep:
                self._sweep(self.plan.sweeps[sweep - 1], {X: self.x})
            for statistic in self.plan.statistics:
                if statistic.after == sweep:
                    self.values[statistic.node] = self._statistic(statistic)
        y = self._value(self.plan.output, {X: self.x}).expand(self.x.shape)
        return y * self._vector("weight", 1.0) + self._vector("bias", 0.0)

    def backward(self, dy: Tensor) -> dict[str, Tensor]:
        """The gradients of `x` and of the parameters, from what was saved; after `forward`."""
        plan, saved = self.plan, {n: self.values[n] for n in self.plan.saved}
        self.values = {**self._start(), **saved, self._leaf(WEIGHT): self._vector("weight", 1.0)}
        element = {X: self.x, self._leaf(DY): dy}
        self._sweep(plan.totals, element)
        for factor in plan.adjoint_factors.values():
            self.values[factor] = self._value(factor, {})
        planes = self.x[:, :, :1, :1].shape
        found = {}
        for name, node in plan.densities.items():
            density = self._value(node, {}).expand(planes)
            over = (0, 1, 2, 3) if name in ("s0", "s1") else (0, 2, 3)
            found[name] = density.sum(over) * self.x.shape[2] * self.x.shape[3]
        return {"x": self._value(plan.dx, element).expand(self.x.shape), **found}

    def _start(self) -> dict[int, Tensor]:
        leaves = {n: leaf_at(self.plan.nodes, n) for n in range(FIRST + len(self.plan.nodes))}
        known = {n: leaf for n, leaf in leaves.items() if n != X and leaf is not None}
        return {n: self._vector(leaf.name, leaf.value or leaf.start or 0.0) for n, leaf in known.items()}

    def _vector(self, name: str, default: float) -> Tensor:
        value = self.parameters.get(name)
        return self.x.new_full((1, 1, 1, 1), default) if value is None else value.view(1, -1, 1, 1)

    def _leaf(self, name: str) -> int:
        return FIRST + [n.op for n in self.plan.nodes].index(name)

    def _sweep(self, swept: tuple[SweptValue, ...], element: Mapping[int, Tensor]) -> None:
        for one in swept:
            value = self._value(one.value, element).expand(self.x.shape)
            self.values[one.mean] = value.mean((2, 3), keepdim=True)
            if one.variance:
                self.values[one.variance] = value.var((2, 3), correction=0, keepdim=True)

    def _statistic(self, statistic: Statistic) -> Tensor:
        if statistic.raw is None:
            raw = self.running[statistic.node].view(1, -1, 1, 1)
        else:
            raw = self._value(statistic.raw, {})
        return rooted(statistic.moment, raw, self.eps)

    def _value(self, number: int, element: Mapping[int, Tensor]) -> Tensor:
        """The value of a node; those of `element` are known only inside a sweep."""
        known: dict[int, Tensor] = {**self.values, **element}
        stack = [number]
        while stack:
            current = stack[-1]
            if current in known:
                stack.pop()
                continue
            name, args = self.plan.nodes[current - FIRST]
            missing = [a for a in args if a not in known]
            assert not missing or args, name  # a leaf that is not known yet
            assert element or not self.plan.varies_in_sweep(current)
            if missing:
                stack += missing
                continue
            known[current] = apply(OPERATIONS[name], [known[a] for a in args], self.groups, self.eps)
            stack.pop()
        return known[number]
