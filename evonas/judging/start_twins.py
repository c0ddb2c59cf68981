"""Twins: graphs that compute the same function at the start of training.

In a short training v0 and v1 hardly move from 0 and 1, so `x + v0` scores like `x`, up to noise. Half of the candidates
that evolution and random search score are such repetitions. A twin of an earlier candidate is rejected before it costs
anything. In return, of two layers that differ only in what they can learn, only the first is tried; so the comparison
is a setting, and off in the paper's protocol.

A response has 648 numbers. It is stored and compared as a sketch of 64 numbers, which is recorded with the candidate so
that a resumed run need not evaluate its graphs again. A sketch has coordinates along the responses of simple layers,
where most of a response lies, and a random projection of the rest, which preserves distances to about a sixth (Johnson
and Lindenstrauss 1984).
"""

from __future__ import annotations

from functools import cache, lru_cache
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
_GROUPS = 4  # two channels per group, so that the index sets differ
_SCALES = (0.3, 1.0, 3.0)
"""Scales of the inputs, several because saturation is a part of the function."""

SKETCH = 64
"""Coordinates of the direction of a sketch."""
_LANDMARKS = (
    *("x", "abs(x)", "exp(0)", "tanh(x)", "square(x)", "max(x, 0)", "exp(x)", "x / std_bwh(x)"),
    *("x / std_wh(x)", "x / std_whc(x)", "mean_wh(x)", "std_bwh(x)", "sigmoid(x)", "log(x)"),
)
"""Simple layers along whose responses a sketch has coordinates."""
_GRID_COORDINATES = 8
"""How many coordinates of a sketch determine its cell of the grid."""
_NOTHING = b""
"""The sketch of a graph that has no finite response."""


@cache
def _probes() -> tuple[Probes, NDArray[np.float64]]:
    """The inputs at all scales, and the scale of each number of a response."""
    rng = np.random.default_rng(20_200_403)
    b, c, _, _ = _SHAPE
    x = rng.standard_normal(_SHAPE) * np.exp(0.5 * rng.standard_normal((1, c, 1, 1)))
    x += 0.5 * rng.standard_normal((1, c, 1, 1)) + 0.3 * rng.standard_normal((b, 1, 1, 1))
    probes = [Probe(scale * x, _GROUPS) for scale in _SCALES]
    return Probes(probes), np.repeat(_SCALES, x.size)


@lru_cache(maxsize=1024)  # of parents, above all
def start_response(graph: Graph) -> NDArray[np.float32] | None:
    """The output of `graph` on fixed random inputs at three scales, divided by the scale, before any training.

    Returns:
        A vector of 648 numbers; None if one is not finite.
    """
    probes, scales = _probes()
    with np.errstate(over="ignore", invalid="ignore"):
        response = (probes.evaluate(graph) / scales).astype(np.float32)
    return response if np.isfinite(response).all() else None


def start_distance(graph: Graph, other: Graph) -> float:
    """The relative distance of two graphs' responses, from 0, up to the sign; infinite if one is not finite.

    It is the Euclidean distance divided by the length of the longer response; `Twins` divide by that of the later one.
    """
    responses = start_response(graph), start_response(other)
    if responses[0] is None or responses[1] is None:
        return float("inf")
    one, two = (response.astype(np.float64) for response in responses if response is not None)
    longer = max(float(np.linalg.norm(one)), float(np.linalg.norm(two)))
    nearer = min(float(np.linalg.norm(one - two)), float(np.linalg.norm(one + two)))
    return nearer / longer if longer > 0.0 else 0.0


@cache
def _projection() -> NDArray[np.float64]:
    """The projection, sketch × response: a basis of the landmarks' responses, then random orthogonal directions."""
    from evonas.language.graph import Graph

    landmarks = [start_response(Graph.parse(text)) for text in _LANDMARKS]
    base = np.linalg.qr(np.array([r for r in landmarks if r is not None], dtype=np.float64).T)[0].T
    rng = np.random.default_rng(20_200_404)
    others = rng.standard_normal((SKETCH - len(base), base.shape[1])) / np.sqrt(SKETCH - len(base))
    return np.concatenate([base, others - others @ base.T @ base])


def sketch(graph: Graph) -> bytes:
    """The sketch of a graph's response: its length as float32, then its direction as `SKETCH` values of float16.

    It is empty if the response is not finite.
    """
    response = start_response(graph)
    if response is None:
        return _NOTHING
    projected = _projection() @ response.astype(np.float64)
    return write_sketch(float(np.linalg.norm(projected)), projected)


def write_sketch(length: float, direction: NDArray[np.float64]) -> bytes:
    """The sketch with a given length and the direction of a vector of shape (64,), which need not be normalised."""
    norm = float(np.linalg.norm(direction))
    return np.float32(length).tobytes() + (direction / (norm or 1.0)).astype(np.float16).tobytes()


def read_sketch(recorded: bytes) -> tuple[float, NDArray[np.float64]]:
    """The length and the direction, of shape (64,), of a non-empty sketch."""
    length = float(np.frombuffer(recorded, np.float32, 1)[0])
    return length, np.frombuffer(recorded, np.float16, offset=4).astype(np.float64)


class Twins:
    """The sketches of earlier candidates.

    They are stored in the cells of a grid over their first coordinates, so that a graph is compared only with the few
    that are near it, however many there are.

    Args:
        tolerance: the relative distance, in the Euclidean norm and up to the sign, within which two responses count as
            equal; 0 disables the comparison.

    Attributes:
        latest: the sketch of the graph that was added last; None if the comparison is disabled.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.latest: bytes | None = None
        self._latest_sketch: tuple[Graph | None, bytes] = (None, _NOTHING)
        self._lengths = np.empty(64, dtype=np.float32)
        self._directions = np.empty((64, SKETCH), dtype=np.float16)
        self._count = 0
        self._cells: dict[int, list[int]] = {}
        # A small tolerance bounds the angle and the ratio of the lengths; with a large one, all are near.
        small = tolerance <= 0.3
        self._reach = 2 * sin(asin(tolerance) / 2) + 1e-3 if small else 2.0  # plus the rounding of float16
        self._stretch = -log(1 - tolerance) + 1e-6 if small else float("inf")

    def add(self, graph: Graph) -> None:
        """Add a graph, whose twins among later graphs will be found."""
        if self.tolerance > 0.0:
            self.latest = self._sketch(graph)
            self.recall(self.latest)

    def recall(self, recorded: bytes) -> None:
        """Add the sketch of a candidate of an earlier session."""
        if recorded == _NOTHING:
            return
        if self._count == len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.empty_like(self._lengths)])
            self._directions = np.concatenate([self._directions, np.empty_like(self._directions)])
        length, direction = read_sketch(recorded)
        self._lengths[self._count], self._directions[self._count] = length, direction
        (cell,) = self._cells_near(length, direction, 0.0)
        self._cells.setdefault(cell, []).append(self._count)
        self._count += 1

    def resembles(self, graph: Graph) -> bool:
        """Whether the graph is a twin of an earlier one."""
        return self._count > 0 and self.matches(self._sketch(graph))

    def matches(self, candidate: bytes) -> bool:
        """Whether the graph with this sketch is a twin of an earlier one."""
        if candidate == _NOTHING:
            return False
        length, direction = read_sketch(candidate)
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
        # The law of cosines. Rounded directions do not have length one exactly.
        squared = ratio**2 * self._squared_lengths(near) - 2 * ratio * cosine + float(direction @ direction)
        return bool(squared.min() <= self.tolerance**2)

    def _squared_lengths(self, near: NDArray[np.intp]) -> NDArray[np.float64]:
        directions = self._directions[near].astype(np.float64)
        squares: NDArray[np.float64] = np.square(directions).sum(axis=1)
        return squares

    def _sketch(self, graph: Graph) -> bytes:
        # Cached, because a graph that passes is added next.
        if self._latest_sketch[0] is not graph:
            self._latest_sketch = (graph, sketch(graph))
        return self._latest_sketch[1]

    def _cells_near(self, length: float, direction: NDArray[np.float64], share: float) -> Iterator[int]:
        """The cell of a sketch; with a `share` of 1, all cells within the tolerance of it."""
        width = 8 * self._reach  # wide enough that few sketches are near several cells
        spans = [(direction[:_GRID_COORDINATES] + side * share * self._reach) / width for side in (-1, 1)]
        low, high = (np.floor(span).astype(np.int64).tolist() for span in spans)
        if length > 0.0 and self._stretch < float("inf"):
            stretched = [(log(length) + side * share * self._stretch) / (8 * self._stretch) for side in (-1, 1)]
            low.append(int(np.floor(stretched[0])))
            high.append(int(np.floor(stretched[1])))
        for cell in product(*({a, b} for a, b in zip(low, high, strict=True))):
            yield hash(cell)  # hashes of integers are the same in every process; a collision costs one comparison
