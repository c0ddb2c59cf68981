"""Graphs evaluated and differentiated in NumPy, on small inputs that are given once and all go through in one pass.

On a few hundred numbers PyTorch spends its time on calls rather than on arithmetic. Here the inputs lie end to end in
one vector, plane after plane, and a value has the narrowest of three forms that holds it: one number, one for each
plane, or one for each position. Index sets are unions of whole planes, so a statistic is a mean over planes and then
over the planes of a cell.

The gradient is found as `evonas.language.differentiate` describes it, adjoints being densities over positions, with
numbers where it has nodes: both read the same derivatives in the table of primitives. Tests hold values and gradients
to `evonas.layers.reference`, with those that are not finite among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from evonas.language.expression import add_text
from evonas.language.graph import FIRST, V0, V1, ZERO, Graph, X
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Moment, Primitive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Probe:
    """What a layer is tried with: x of shape (b, c, h, w), v0 and v1 of shape (c,), groups that divide c; float64."""

    x: Array
    v0: Array
    v1: Array
    groups: int


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of an index set: `order` brings planes of one cell together, `back` gives each plane its cell."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    shares: Array
    back: NDArray[np.intp]

    @staticmethod
    def of(back: NDArray[np.intp]) -> _Cells:
        counts = np.bincount(back)
        return _Cells(np.argsort(back, kind="stable"), np.cumsum(counts) - counts, 1 / counts, back)


class Probes:
    """Several inputs, of any shapes, through which graphs are sent together."""

    def __init__(self, probes: Sequence[Probe]) -> None:
        self.shapes = [probe.x.shape for probe in probes]
        planes = [b * c for b, c, _, _ in self.shapes]
        sizes = np.concatenate([np.full(b * c, h * w) for b, c, h, w in self.shapes])
        self.size = int(sizes.sum())
        self._starts, self._shares = np.cumsum(sizes) - sizes, 1 / sizes
        self._plane = np.repeat(np.arange(len(sizes)), sizes)
        ends = np.cumsum([prod(shape) for shape in self.shapes])
        self._parts = [slice(end - prod(shape), end) for end, shape in zip(ends, self.shapes, strict=True)]
        self._inputs: dict[int, Array] = {
            X: np.concatenate([probe.x.ravel() for probe in probes]),
            ZERO: np.float64(0.0),  # type: ignore[dict-item]  # a NumPy number does all that is asked of an array
            V0: np.concatenate([np.tile(probe.v0, probe.x.shape[0]) for probe in probes]),
            V1: np.concatenate([np.tile(probe.v1, probe.x.shape[0]) for probe in probes]),
        }
        self._cells = {}
        for index_set in (IndexSet.BWH, IndexSet.WHC, IndexSet.WHCG):
            labels, first = [], 0
            for probe, count in zip(probes, planes, strict=True):
                b, c = np.divmod(np.arange(count), probe.x.shape[1])
                group = c * probe.groups // probe.x.shape[1]
                own = {IndexSet.BWH: c, IndexSet.WHC: b, IndexSet.WHCG: b * probe.groups + group}[index_set]
                labels.append(own + first)
                first += int(own.max()) + 1
            self._cells[index_set] = _Cells.of(np.concatenate(labels))

    def evaluate(self, graph: Graph) -> Array:
        """The value of `graph`, before the affine: one vector of `size` numbers, which `parts` takes apart."""
        with np.errstate(all="ignore"):
            return self._wide(self._values(graph)[graph.output])

    def differentiate(self, graph: Graph, weighting: Array) -> tuple[Array, Array]:
        """The value, and the gradient by x of its sum weighted by `weighting`; each of `size` numbers."""
        with np.errstate(all="ignore"):
            values = self._values(graph)
            return self._wide(values[graph.output]), self._wide(self._gradient(graph, values, weighting))

    def parts(self, vector: Array) -> list[Array]:
        """The part of a vector that belongs to each probe, (b, c, h, w)."""
        return [vector[part].reshape(shape) for part, shape in zip(self._parts, self.shapes, strict=True)]

    def _values(self, graph: Graph) -> dict[int, Array]:
        values = dict(self._inputs)
        for number in graph.live:
            if number >= FIRST:
                name, args = graph.nodes[number - FIRST]
                values[number] = self._apply(PRIMITIVES[name], values[args[0]], values[args[-1]])
        return values

    def _gradient(self, graph: Graph, values: dict[int, Array], weighting: Array) -> Array:
        adjoints = {graph.output: weighting}
        depends = {X}
        for number in graph.live:
            if number >= FIRST and not depends.isdisjoint(graph.nodes[number - FIRST].args):
                depends.add(number)
        for number in reversed(graph.live):
            if number < FIRST or number not in depends:
                continue
            name, args = graph.nodes[number - FIRST]
            wanted = tuple([a in depends for a in args])
            steps, results = _program(name, wanted)
            registers = [adjoints[number], values[ZERO], values[number], values[args[0]], values[args[-1]]]
            for op, a, b in steps:
                registers.append(self._apply(op, registers[a], registers[b]))
            for argument, result in zip([a for a in args if a in depends], results, strict=True):
                gained, before = registers[result], adjoints.get(argument)
                adjoints[argument] = gained if before is None else self._apply(PRIMITIVES["add"], before, gained)
        return adjoints[X] if graph.output in depends else values[ZERO]

    def _apply(self, op: Primitive, a: Array, b: Array) -> Array:
        """The value of one operation; where it has one argument, `b` is anything."""
        if op.index_set is not None:
            return self._aggregate(op, op.index_set, a)
        assert op.array is not None  # a row has either a form in NumPy or an index set
        if op.arity == 1:
            return op.array(a, eps=EPS)
        if a.size != b.size and a.size != 1 and b.size != 1:
            a, b = self._wide(a), self._wide(b)
        return op.array(a, b, eps=EPS)

    def _aggregate(self, op: Primitive, index_set: IndexSet, a: Array) -> Array:
        if op.moment is Moment.MEAN:
            return self._mean(index_set, a)
        if op.moment is Moment.STD:
            mean = self._mean(index_set, a)
            a = a - (self._wide(mean) if a.size == self.size else mean)
        return np.sqrt(self._mean(index_set, a * a) + EPS)

    def _mean(self, index_set: IndexSet, a: Array) -> Array:
        if a.size == 1:
            return a
        if a.size == self.size:
            a = np.add.reduceat(a, self._starts) * self._shares
        if index_set is IndexSet.WH:
            return a
        cells = self._cells[index_set]
        return (np.add.reduceat(a[cells.order], cells.starts) * cells.shares)[cells.back]

    def _wide(self, a: Array) -> Array:
        """A value as one number for each position."""
        if a.size == self.size:
            return a
        return np.full(self.size, a) if a.size == 1 else a[self._plane]


_G, _Y, _A, _B = 0, 2, 3, 4
"""Registers of a program: the adjoint and the value of a node, and its arguments; `ZERO` is among them."""
EvaluationStep = tuple[Primitive, int, int]


@cache
def _program(name: str, wanted: tuple[bool, ...]) -> tuple[tuple[EvaluationStep, ...], tuple[int, ...]]:
    """What the adjoints of the wanted arguments gain: steps that each fill the next register, and where results lie."""
    steps: list[EvaluationStep] = []
    known: dict[tuple[str, tuple[int, ...]], int] = {}

    def add(op: str, *args: int) -> int:
        if (op, args) not in known:
            known[op, args] = _B + 1 + len(steps)
            steps.append((OPERATIONS[op], args[0], args[-1]))
        return known[op, args]

    names = {"g": _G, "y": _Y, "a": _A, "b": _B}
    texts = [text for text, is_wanted in zip(PRIMITIVES[name].derivative, wanted, strict=True) if is_wanted]
    results = tuple([add_text(text, add, names, OPERATIONS) for text in texts])
    return tuple(steps), results
