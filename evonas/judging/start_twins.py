"""Twins: graphs that answer alike while their parameters are where training starts.

In a short training v0 and v1 hardly move from 0 and 1, so `x + v0` scores as `x` does, up to noise, and half
of what evolution and random search score are such repetitions. A twin of an earlier candidate is turned
away before it costs anything. The price is that of two layers which differ by what they can learn only the
first is tried, so this is a setting, and off in the paper's protocol.

A response has 648 numbers. What is kept and compared of it is a sketch of 64, which is recorded with the
candidate so that a run which is resumed need not evaluate its graphs again: coordinates along the responses of
simple layers, where most of a response lies, and a random projection of the rest, which keeps distances to
about a sixth (Johnson and Lindenstrauss 1984).
"""

from __future__ import annotations

from functools import cache
from itertools import product
from math import asin, log, sin
from typing import TYPE_CHECKING

import numpy as np

from evonas.judging.numpy_evaluation import Probe, Probes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from evonas.language.graph import Graph

_SHAPE = (3, 8, 3, 3)
_GROUPS = 4  # two channels a group: the index sets stay distinct
_SCALES = (0.3, 1.0, 3.0)
"""Of the inputs: how far a layer saturates is part of what it does."""

_SKETCH = 64
_LANDMARKS = (
    *("x", "abs(x)", "exp(0)", "tanh(x)", "square(x)", "max(x, 0)", "exp(x)", "x / std_bwh(x)"),
    *("x / std_wh(x)", "x / std_whc(x)", "mean_wh(x)", "std_bwh(x)", "sigmoid(x)", "log(x)"),
)
"""Simple layers along whose responses a sketch has coordinates."""
_PLACED_BY = 8
"""How many coordinates of a sketch say in which cell it lies."""
_NOTHING = b""
"""The sketch of a graph that has no finite response."""


@cache
def _probes() -> tuple[Probes, NDArray[np.float64]]:
    """The inputs at all scales, and the scale of each number of a response."""
    rng = np.random.default_rng(20_200_403)
    b, c, _, _ = _SHAPE
    x = rng.standard_normal(_SHAPE) * np.exp(0.5 * rng.standard_normal((1, c, 1, 1)))
    x += 0.5 * rng.standard_normal((1, c, 1, 1)) + 0.3 * rng.standard_normal((b, 1, 1, 1))
    probes = [Probe(scale * x, np.zeros(c), np.ones(c), _GROUPS) for scale in _SCALES]
    return Probes(probes), np.repeat(_SCALES, x.size)


def start_response(graph: Graph) -> NDArray[np.float32] | None:
    """The output of `graph` on fixed random inputs at three scales with v0 = 0 and v1 = 1, each over the scale.

    Returns:
        One vector; None where a value is not finite.
    """
    probes, scales = _probes()
    with np.errstate(over="ignore", invalid="ignore"):
        response = (probes.evaluate(graph) / scales).astype(np.float32)
    return response if np.isfinite(response).all() else None


@cache
def _projection() -> NDArray[np.float64]:
    """(sketch, response): an orthonormal base of the landmarks' responses, then random directions beside it."""
    from evonas.language.graph import Graph

    landmarks = [start_response(Graph.parse(text)) for text in _LANDMARKS]
    base = np.linalg.qr(np.array([r for r in landmarks if r is not None], dtype=np.float64).T)[0].T
    rng = np.random.default_rng(20_200_404)
    others = rng.standard_normal((_SKETCH - len(base), base.shape[1])) / np.sqrt(_SKETCH - len(base))
    return np.concatenate([base, others - others @ base.T @ base])


def sketch(graph: Graph) -> bytes:
    """What is kept of a graph's response: its length, a float32, and its direction, `_SKETCH` float16s.

    Empty where the response is not finite.
    """
    response = start_response(graph)
    if response is None:
        return _NOTHING
    projected = _projection() @ response.astype(np.float64)
    return write_sketch(float(np.linalg.norm(projected)), projected)


def write_sketch(length: float, direction: NDArray[np.float64]) -> bytes:
    """A sketch of this length, with the direction of a vector; (64,), of any length."""
    norm = float(np.linalg.norm(direction))
    return np.float32(length).tobytes() + (direction / (norm or 1.0)).astype(np.float16).tobytes()


def read_sketch(recorded: bytes) -> tuple[float, NDArray[np.float64]]:
    """The length and direction of a sketch that is not empty."""
    length = float(np.frombuffer(recorded, np.float32, 1)[0])
    return length, np.frombuffer(recorded, np.float16, offset=4).astype(np.float64)


class Twins:
    """The sketches of earlier candidates.

    They lie in cells of a grid over the first coordinates, so that a graph is compared with those few that are
    near it, however many there are.

    Args:
        tolerance: relative distance, in the Euclidean norm and up to the sign, within which two responses
            count as one; 0 for no comparison at all.

    Attributes:
        latest: the sketch of the graph that was added last; None without comparison.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.latest: bytes | None = None
        self._looked_at: tuple[Graph | None, bytes] = (None, _NOTHING)
        self._lengths = np.empty(64, dtype=np.float32)
        self._directions = np.empty((64, _SKETCH), dtype=np.float16)
        self._count = 0
        self._cells: dict[int, list[int]] = {}
        # Within a small tolerance lie an angle and a ratio of lengths that are small too; a large one spans all.
        small = tolerance <= 0.3
        self._reach = 2 * sin(asin(tolerance) / 2) + 1e-3 if small else 2.0  # and the rounding of float16
        self._stretch = -log(1 - tolerance) + 1e-6 if small else float("inf")

    def add(self, graph: Graph) -> None:
        """Counts later graphs that respond alike as twins."""
        if self.tolerance > 0.0:
            self.latest = self._sketch(graph)
            self.recall(self.latest)

    def recall(self, earlier: bytes) -> None:
        """Counts later graphs as twins that respond as the graph of an earlier sketch does."""
        if earlier == _NOTHING:
            return
        if self._count == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.empty_like(self._lengths)])
            self._directions = np.concatenate([self._directions, np.empty_like(self._directions)])
        length, direction = read_sketch(earlier)
        self._lengths[self._count], self._directions[self._count] = length, direction
        (cell,) = self._cells_near(length, direction, 0.0)
        self._cells.setdefault(cell, []).append(self._count)
        self._count += 1

    def resembles(self, graph: Graph) -> bool:
        """Whether an earlier graph responds alike."""
        return self._count > 0 and self.compare(self._sketch(graph))

    def compare(self, known: bytes) -> bool:
        """Whether an earlier graph responds as one with this sketch does."""
        if known == _NOTHING:
            return False
        length, direction = read_sketch(known)
        places: set[int] = set()
        for signed in (direction, -direction):
            for cell in self._cells_near(length, signed, 1.0):
                places.update(self._cells.get(cell, ()))
        if not places:
            return False
        near = np.fromiter(places, dtype=np.intp)
        if length == 0.0:
            return bool((self._lengths[near] == 0.0).any())
        ratio = self._lengths[near].astype(np.float64) / length
        cosine = np.abs(self._directions[near].astype(np.float64) @ direction)
        # The law of cosines; directions were rounded, so that their own lengths are not quite one.
        squared = ratio**2 * self._own(near) - 2 * ratio * cosine + float(direction @ direction)
        return bool(squared.min() <= self.tolerance**2)

    def _own(self, near: NDArray[np.intp]) -> NDArray[np.float64]:
        directions = self._directions[near].astype(np.float64)
        squares: NDArray[np.float64] = np.square(directions).sum(axis=1)
        return squares

    def _sketch(self, graph: Graph) -> bytes:
        # A graph that passes is added next.
        if self._looked_at[0] is not graph:
            self._looked_at = (graph, sketch(graph))
        return self._looked_at[1]

    def _cells_near(self, length: float, direction: NDArray[np.float64], share: float) -> Iterator[int]:
        """The cell of a sketch, or with a `share` of 1 all within reach of it."""
        width = 8 * self._reach  # wide enough that few reach into the next
        spans = [(direction[:_PLACED_BY] + side * share * self._reach) / width for side in (-1, 1)]
        low, high = (np.floor(span).astype(np.int64).tolist() for span in spans)
        if length > 0.0 and self._stretch < float("inf"):
            stretched = [(log(length) + side * share * self._stretch) / (8 * self._stretch) for side in (-1, 1)]
            low.append(int(np.floor(stretched[0])))
            high.append(int(np.floor(stretched[1])))
        for cell in product(*({a, b} for a, b in zip(low, high, strict=True))):
            yield hash(cell)  # that of integers is the same in every process; a collision costs a comparison
