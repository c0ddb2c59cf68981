"""A plan carried out in PyTorch, literally: what kernels are held to when they differ from the reference.

Slow, and for tests. It evaluates element-wise nodes only inside of sweeps, from x, dy and what the plan says is
known by then, and everything else from values that are constant on planes; so a plan that asks for a value too
early, or for one that was not saved, fails here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from evonas.kernels.plan.plan import Plan, Statistic, Taken
from evonas.language.differentiate import DY, WEIGHT
from evonas.language.graph import FIRST, V0, V1, ZERO, X
from evonas.language.primitive_table import OPERATIONS
from evonas.layers.reference import apply, rooted


@dataclass
class CarryOut:
    """One layer at work on one batch.

    Args:
        plan: what to do.
        x: (b, c, h, w), float64 for comparisons.
        parameters: `v0`, `v1`, `weight` and `bias`, (c,) each; those that the layer has.
        groups: divides c.
        eps: the layer's epsilon.
        given: in evaluation, the raw value of each statistic over the batch, (c,), by node.
    """

    plan: Plan
    x: Tensor
    parameters: Mapping[str, Tensor]
    groups: int
    eps: float = 1e-5
    given: Mapping[int, Tensor] = field(default_factory=dict)
    values: dict[int, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.values = self._start()

    def forward(self) -> Tensor:
        """The layer's value."""
        for sweep in range(len(self.plan.sweeps) + 1):
            if sweep:
                self._take(self.plan.sweeps[sweep - 1], {X: self.x})
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
        self._take(plan.totals, element)
        for rate in plan.rates.values():
            self.values[rate] = self._value(rate, {})
        planes = self.x[:, :, :1, :1].shape
        found = {}
        for name, node in plan.densities.items():
            density = self._value(node, {}).expand(planes)
            found[name] = density.sum((0, 2, 3)) * self.x.shape[2] * self.x.shape[3]
        return {"x": self._value(plan.dx, element).expand(self.x.shape), **found}

    def _start(self) -> dict[int, Tensor]:
        zero = torch.zeros((1, 1, 1, 1), dtype=self.x.dtype)
        return {ZERO: zero, V0: self._vector("v0", 0.0), V1: self._vector("v1", 1.0)}

    def _vector(self, name: str, default: float) -> Tensor:
        value = self.parameters.get(name)
        return self.x.new_full((1, 1, 1, 1), default) if value is None else value.view(1, -1, 1, 1)

    def _leaf(self, name: str) -> int:
        return FIRST + [n.op for n in self.plan.nodes].index(name)

    def _take(self, taken: tuple[Taken, ...], element: Mapping[int, Tensor]) -> None:
        for one in taken:
            value = self._value(one.value, element).expand(self.x.shape)
            self.values[one.mean] = value.mean((2, 3), keepdim=True)
            if one.variance:
                self.values[one.variance] = value.var((2, 3), correction=0, keepdim=True)

    def _statistic(self, statistic: Statistic) -> Tensor:
        given = statistic.raw is None
        raw = self.given[statistic.node].view(1, -1, 1, 1) if given else self._value(statistic.raw or ZERO, {})
        return rooted(statistic.moment, raw, self.eps)

    def _value(self, number: int, element: Mapping[int, Tensor]) -> Tensor:
        """The value of a node; those of `element` are there only inside of a sweep."""
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
            assert element or not self.plan.varies(current)
            if missing:
                stack += missing
                continue
            known[current] = apply(OPERATIONS[name], [known[a] for a in args], self.groups, self.eps)
            stack.pop()
        return known[number]
