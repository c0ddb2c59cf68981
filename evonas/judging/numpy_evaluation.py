"""Evaluates and differentiates graphs in NumPy, on a fixed set of small inputs in one pass.

On a few hundred numbers PyTorch spends its time on calls rather than on arithmetic. Here all inputs are concatenated
into one vector, plane after plane, and a value is stored in the narrowest of three forms: one number, one number for
each plane, or one for each position. Index sets are unions of whole planes, so a statistic is a mean within planes and
then over the planes of a cell.

The gradient is computed as in `evonas.language.differentiate`, with adjoints as densities over positions, but with
numbers instead of nodes; both use the derivatives in the table of primitives. Tests compare values and gradients with
`evonas.layers.reference`, including values that are not finite.
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
    """An input of a layer in float64: x of shape (b, c, h, w), v0 and v1 of shape (c,), groups that divide c."""

    x: Array
    v0: Array
    v1: Array
    groups: int


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of an index set.

    Attributes:
        order: the permutation of the planes that makes those of each cell adjacent.
        starts: the place in that order at which each cell starts.
        shares: 1 / the number of planes of each cell.
        back: the cell of each plane.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    shares: Array
    back: NDArray[np.intp]

    @staticmethod
    def of(back: NDArray[np.intp]) -> _Cells:
        counts = np.bincount(back)
        return _Cells(np.argsort(back, kind="stable"), np.cumsum(counts) - counts, 1 / counts, back)


class Probes:
    """Several inputs, possibly of different shapes, on which graphs are evaluated together."""

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
            ZERO: np.float64(0.0),  # type: ignore[dict-item]  # a NumPy scalar supports all operations used here
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
        """The value of `graph` before the affine: one vector of `size` numbers, which `parts` splits."""
        with np.errstate(all="ignore"):
            return self._wide(self._values(graph)[graph.output])

    def evaluate_with_curves(self, graph: Graph, planes: NDArray[np.intp], grid: Array) -> tuple[Array, Array]:
        """The value as of `evaluate`, and how the output at one position follows x there while all statistics stay.

        A plane without end, in which one element changes, comes to the same: the curves belong to the function and
        not to the way it is written.

        Args:
            graph: the layer.
            planes: the numbers of planes, counted over all probes, whose statistics hold.
            grid: the values of x, of shape (n,).

        Returns:
            A vector of `size` numbers, and the curves, of shape (number of planes, n).
        """
        with np.errstate(all="ignore"):
            values = self._values(graph)
            at = {X: grid, ZERO: self._inputs[ZERO]} | {v: self._inputs[v][planes, None] for v in (V0, V1)}
            for number in graph.live:
                if number >= FIRST:
                    name, args = graph.nodes[number - FIRST]
                    op, whole = PRIMITIVES[name], values[number]
                    if op.array is None:
                        at[number] = whole if whole.size == 1 else whole[planes, None]
                    elif op.arity == 1:
                        at[number] = op.array(at[args[0]], eps=EPS)
                    else:
                        at[number] = op.array(at[args[0]], at[args[1]], eps=EPS)
            curves = np.broadcast_to(at[graph.output], (len(planes), len(grid)))
            return self._wide(values[graph.output]), curves

    def differentiate(self, graph: Graph, weighting: Array) -> tuple[Array, Array]:
        """The value, and the gradient with respect to x of its weighted sum; both are vectors of `size` numbers."""
        with np.errstate(all="ignore"):
            values = self._values(graph)
            return self._wide(values[graph.output]), self._wide(self._gradient(graph, values, weighting))

    def parts(self, vector: Array) -> list[Array]:
        """Split a vector of `size` numbers into one array for each probe, (b, c, h, w)."""
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
        """The value of one operation; `b` is ignored if it takes one argument."""
        if op.index_set is not None:
            return self._aggregate(op, op.index_set, a)
        assert op.array is not None  # a primitive has either a NumPy function or an index set
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
        """Expand a value to one number for each position."""
        if a.size == self.size:
            return a
        return np.full(self.size, a) if a.size == 1 else a[self._plane]


_G, _Y, _A, _B = 0, 2, 3, 4
"""Registers of a program: the adjoint of a node, its value, and its two arguments. Register 1 holds `ZERO`."""
EvaluationStep = tuple[Primitive, int, int]


@cache
def _program(name: str, wanted: tuple[bool, ...]) -> tuple[tuple[EvaluationStep, ...], tuple[int, ...]]:
    """The program for a primitive's contributions to the adjoints of its wanted arguments.

    Returns:
        Steps, each of which fills the next register, and the registers of the results.
    """
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
