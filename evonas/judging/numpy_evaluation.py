"""Evaluates and differentiates graphs in NumPy, on a fixed set of small inputs in one pass.

On a few hundred numbers PyTorch spends its time on calls rather than on arithmetic. Here all inputs are concatenated
into one vector, plane after plane, and a value is stored in the narrowest of three forms: one number, one number for
each plane, or one for each element. A statistic over whole planes is a mean within planes and then over the planes of a
cell. One over the channels at each position is stored for each element.

The gradient is computed as in `evonas.language.differentiate`, with adjoints as densities over positions, but with
numbers instead of nodes; both use the derivatives in the table of primitives. Tests compare values and gradients with
`evonas.layers.reference`, including values that are not finite.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from evonas.language.axes import REMOVES, Extent
from evonas.language.expression import add_text
from evonas.language.graph import INPUTS, ZERO, Graph, X
from evonas.language.leaf import PARAMETERS, leaf_named
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Moment, Primitive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

EPS = 1e-5


@dataclass(frozen=True, slots=True)
class Probe:
    """An input of a layer in float64.

    Attributes:
        x: (b, c, h, w).
        groups: a number of groups that divides c.
        parameters: the trained leaves by name, (c,) or (); those that are missing are what their training starts at.
    """

    x: Array
    groups: int
    parameters: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Cells:
    """The cells of an index set, which consist of planes, or of elements.

    Attributes:
        order: the permutation of these that makes those of each cell adjacent.
        starts: the place in that order at which each cell starts.
        shares: 1 / the number of planes or elements of each cell.
        back: the cell of each.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    shares: Array
    back: NDArray[np.intp]

    @staticmethod
    def of(back: NDArray[np.intp]) -> _Cells:
        counts = np.bincount(back)
        return _Cells(np.argsort(back, kind="stable"), np.cumsum(counts) - counts, 1 / counts, back)

    def mean(self, a: Array) -> Array:
        """The mean of the cell of each plane or element, given one number for each of them."""
        means: Array = (np.add.reduceat(a[self.order], self.starts) * self.shares)[self.back]
        return means


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
        self._leaves = {"x": np.concatenate([probe.x.ravel() for probe in probes])}
        self._leaves |= {leaf.name: _on_planes(leaf.name, probes) for leaf in PARAMETERS}
        self._inputs = {number: self._leaf(name) for number, name in enumerate(INPUTS)}
        # By index set, of planes; of the two sets that no plane is in, of the planes whose values those reduce.
        self._cells: dict[IndexSet, _Cells] = {
            i: _cells_of_planes(i, probes, planes) for i in IndexSet if i is not IndexSet.WH
        }
        self._cells_of_elements: dict[IndexSet, _Cells] = {}

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
            at: dict[int, Array] = {}
            for number in graph.live:
                op, whole = None if graph.leaf(number) else PRIMITIVES[graph.node(number).op], values[number]
                if number == X:
                    at[number] = grid
                elif op is None or op.array is None:  # a statistic of a position is that of the plane's first
                    narrow = whole[self._starts] if self._is_wide(whole) else whole
                    at[number] = narrow if narrow.size == 1 else narrow[planes, None]
                else:
                    at[number] = op.array(*(at[a] for a in graph.node(number).args), eps=EPS)
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
            if number >= len(INPUTS):
                name, args = graph.node(number)
                if args:
                    values[number] = self._apply(PRIMITIVES[name], values[args[0]], values[args[-1]])
                else:
                    values[number] = self._leaf(name)
        return values

    def _leaf(self, name: str) -> Array:
        """The value of a leaf; a number is a scalar of NumPy."""
        known = self._leaves.get(name)
        if known is not None:
            return known
        leaf = leaf_named(name)
        assert leaf is not None and leaf.value is not None  # the values of all others are known
        return _scalar(leaf.value)

    def _gradient(self, graph: Graph, values: dict[int, Array], weighting: Array) -> Array:
        adjoints = {graph.output: weighting}
        depends = {X}
        for number in graph.live:
            if number >= graph.first and not depends.isdisjoint(graph.node(number).args):
                depends.add(number)
        for number in reversed(graph.live):
            if number < graph.first or number not in depends:
                continue
            name, args = graph.node(number)
            wanted = tuple([a in depends for a in args])
            steps, results = _program(name, wanted)
            registers = [adjoints[number], values[ZERO], values[number], values[args[0]], values[args[-1]]]
            for op, a, b in steps:
                registers.append(self._leaf(op) if isinstance(op, str) else self._apply(op, registers[a], registers[b]))
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
            a = a - (self._wide(mean) if self._is_wide(a) else mean)
        return np.sqrt(self._mean(index_set, a * a) + EPS)

    def _mean(self, index_set: IndexSet, a: Array) -> Array:
        if a.size == 1:
            return a
        if self._is_wide(a):
            if not REMOVES[index_set] & Extent.PLANE:
                return self._cells_at_positions(index_set).mean(a)
            a = np.add.reduceat(a, self._starts) * self._shares
        return a if index_set is IndexSet.WH else self._cells[index_set].mean(a)

    def _cells_at_positions(self, index_set: IndexSet) -> _Cells:
        """The elements that a statistic at one position reduces, which few layers need."""
        if index_set not in self._cells_of_elements:
            of_plane, first = self._cells[index_set].back, 0
            labels: list[NDArray[np.intp]] = []
            for shape, place in zip(self.shapes, self._first_planes(), strict=True):
                b, c, h, w = shape
                cell = of_plane[place : place + b * c]
                own = (cell - cell.min())[:, None] * (h * w) + np.arange(h * w)
                labels.append(own.ravel() + first)
                first += int(own.max()) + 1
            self._cells_of_elements[index_set] = _Cells.of(np.concatenate(labels))
        return self._cells_of_elements[index_set]

    def _first_planes(self) -> list[int]:
        counts = [b * c for b, c, _, _ in self.shapes]
        return [int(end) - count for end, count in zip(np.cumsum(counts), counts, strict=True)]

    def _is_wide(self, a: Array) -> bool:
        """Whether a value has one number for each element. Planes of one position would make two forms alike."""
        return a.size == self.size

    def _wide(self, a: Array) -> Array:
        """Expand a value to one number for each element."""
        if self._is_wide(a):
            return a
        return np.full(self.size, a) if a.size == 1 else a[self._plane]


def _scalar(value: float) -> Array:
    return np.float64(value)  # type: ignore[return-value]  # a NumPy scalar supports all operations used here


def _on_planes(name: str, probes: Sequence[Probe]) -> Array:
    """A parameter on the planes of all probes; a scalar that is the same in all of them is one number."""
    leaf = leaf_named(name)
    assert leaf is not None and leaf.start is not None  # it is a parameter
    given = [np.asarray(probe.parameters.get(name, leaf.start), dtype=np.float64) for probe in probes]
    if leaf.extent is Extent.NONE and len({float(value) for value in given}) == 1:
        return _scalar(float(given[0]))
    shapes = [probe.x.shape for probe in probes]
    return np.concatenate(
        [np.broadcast_to(value, (b, c)).ravel() for value, (b, c, _, _) in zip(given, shapes, strict=True)]
    )


def _cells_of_planes(index_set: IndexSet, probes: Sequence[Probe], planes: Sequence[int]) -> _Cells:
    labels, first = [], 0
    for probe, count in zip(probes, planes, strict=True):
        b, c = np.divmod(np.arange(count), probe.x.shape[1])
        group = b * probe.groups + c * probe.groups // probe.x.shape[1]
        over_channels = {IndexSet.WHC: b, IndexSet.C: b, IndexSet.WHCG: group, IndexSet.CG: group}
        own = c if index_set is IndexSet.BWH else over_channels[index_set]
        labels.append(own + first)
        first += int(own.max()) + 1
    return _Cells.of(np.concatenate(labels))


_G, _Y, _A, _B = 0, 2, 3, 4
"""Registers of a program: the adjoint of a node, its value, and its two arguments. Register 1 holds `ZERO`."""
EvaluationStep = tuple[Primitive | str, int, int]
"""An operation and the registers of its arguments; or the name of a leaf, which has none."""


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
            steps.append((OPERATIONS[op], args[0], args[-1]) if args else (op, ZERO, ZERO))
        return known[op, args]

    names = {"g": _G, "y": _Y, "a": _A, "b": _B}
    texts = [text for text, is_wanted in zip(PRIMITIVES[name].derivative, wanted, strict=True) if is_wanted]
    results = tuple([add_text(text, add, names, OPERATIONS) for text in texts])
    return tuple(steps), results
