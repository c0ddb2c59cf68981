"""Twins: graphs that answer alike while their parameters are where training starts.

In a short training v0 and v1 hardly move from 0 and 1, so `x + v0` scores as `x` does, up to noise, and half
of what evolution and random search score are such repetitions. A twin of an earlier candidate is turned
away before it costs anything. The price is that of two layers which differ by what they can learn only the
first is tried, so this is a setting, and off in the paper's protocol.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from evonas.probes import Probe, Probes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.graph import Graph

_SHAPE = (3, 8, 3, 3)
_GROUPS = 4  # two channels a group: the index sets stay distinct
_SCALES = (0.3, 1.0, 3.0)
"""Of the inputs: how far a layer saturates is part of what it does."""


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


class Twins:
    """The responses of earlier candidates.

    Args:
        tolerance: relative distance, in the Euclidean norm and up to the sign, within which two responses
            count as one; 0 for no comparison at all.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        size = _probes()[1].size if tolerance > 0.0 else 0
        self._responses = np.empty((64, size), dtype=np.float32)
        self._squares = np.empty(64, dtype=np.float32)
        self._count = 0
        self._latest: tuple[Graph, NDArray[np.float32] | None] | None = None

    def add(self, graph: Graph) -> None:
        """Counts later graphs that respond alike as twins."""
        response = self._respond(graph) if self.tolerance > 0.0 else None
        if response is None:
            return
        if self._count == len(self._responses):
            self._responses = np.concatenate([self._responses, np.empty_like(self._responses)])
            self._squares = np.concatenate([self._squares, np.empty_like(self._squares)])
        self._responses[self._count] = response
        with np.errstate(over="ignore"):
            self._squares[self._count] = response @ response
        self._count += 1

    def resembles(self, graph: Graph) -> bool:
        """Whether an earlier graph responds alike."""
        response = self._respond(graph) if self._count else None
        if response is None:
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            close = self._responses[: self._count][self._may_be_close(response)]
            nearest = [np.linalg.norm(close - r, axis=1).min(initial=np.inf) for r in (response, -response)]
            return bool(min(nearest) <= self.tolerance * np.linalg.norm(response))

    def _may_be_close(self, response: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which earlier responses are worth a comparison, number by number.

        From products alone, which take one pass over what may be thousands of vectors:
        |e ∓ r|² = |e|² + |r|² ∓ 2 e · r. Rounding to float32 takes up to 1e-5 of the squares, of which a hundred times
        as much is allowed for here; where squares overflow nothing is left out.
        """
        squares, square = self._squares[: self._count], response @ response
        distances = squares + square - 2 * np.abs(self._responses[: self._count] @ response)
        found: NDArray[np.bool_] = ~(distances > self.tolerance**2 * square + 1e-3 * (squares + square))
        return found

    def _respond(self, graph: Graph) -> NDArray[np.float32] | None:
        """The response; a graph that is added was asked about just before."""
        if self._latest is None or self._latest[0] is not graph:
            self._latest = graph, start_response(graph)
        return self._latest[1]
