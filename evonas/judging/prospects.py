"""How accurate a proposal will become, from what became of the candidates that start most like it.

Most offspring of a good layer do not learn, and finding that out takes a worker a second. Whether a layer learns, and
to some degree how fast, hangs on what it computes at the start of training, of which every candidate has a sketch
(`evonas/judging/start_twins.py`). So a run remembers what its candidates had at the quality filter, and of several
proposals judges one whose nearest neighbours among them had much. But what is too near to one of them tells nothing
new. So the promise of a proposal counts by its distance to the nearest candidate. Nothing is trained for this.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from evonas.judging.hurdles import is_hurdle
from evonas.judging.start_twins import SKETCH, read_sketch
from evonas.settings.candidate import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.settings.candidate import Ending, Evaluation

NEIGHBOURS = 10
"""Candidates that have a say in what becomes of a proposal."""
BLUR = 0.03
"""Added to a distance before it is squared and inverted, which makes the weight of a neighbour: candidates nearer than
this to a proposal have about the same say."""
NEW = 0.3
"""The distance from which on a candidate is as new as can be: nearer ones score alike, farther ones hardly do."""
PRIOR = 2.0
"""The weight, as of a neighbour at a distance of 0.68, that speaks against a proposal with no neighbours near it."""


def worth(ended: Evaluation | Ending) -> float:
    """The accuracy that a candidate had at the quality filter if it learned, and otherwise 0.

    It learned if it passed the filters that need a network: it was scored, or only fell behind others. Where nothing
    was measured at that filter, all that learned are worth 1.
    """
    fell_behind = ended.stopped_by is not None and is_hurdle(ended.stopped_by)
    if ended.status is Status.FAILED or (ended.status is Status.REJECTED and not fell_behind):
        return 0.0
    return 1.0 if ended.quality is None else ended.quality


@dataclass(frozen=True, slots=True)
class Prospect:
    """What can be said of a proposal.

    Attributes:
        promise: the weighted mean of what the nearest candidates are worth, from 0 to 1.
        distance: the relative distance to the nearest of them.
    """

    promise: float
    distance: float

    @property
    def appeal(self) -> float:
        """What proposals are compared by: a promise counts for more where less is known."""
        return self.promise * min(self.distance, NEW)


class Prospects:
    """The candidates of a run: how they start, and what they are worth."""

    def __init__(self) -> None:
        self._directions: NDArray[np.float64] = np.empty((0, SKETCH))
        self._lengths: NDArray[np.float64] = np.empty(0)
        self._worths: NDArray[np.float64] = np.empty(0)
        self._count = 0

    def add(self, start: bytes | None, worth: float) -> None:
        """Add a candidate by the sketch of its start; one without a sketch of finite length has no say."""
        if (found := _read(start)) is None:
            return
        if self._count == len(self._lengths):
            room = max(64, self._count)
            self._directions = np.concatenate([self._directions, np.empty((room, SKETCH))])
            self._lengths, self._worths = (np.append(v, np.empty(room)) for v in (self._lengths, self._worths))
        self._lengths[self._count], self._directions[self._count] = found
        self._worths[self._count] = worth
        self._count += 1

    def of(self, start: bytes) -> Prospect:
        """What can be said of a proposal; before the first candidate, that it promises nothing.

        Args:
            start: the sketch of the proposal's start; without a finite length it promises nothing either.
        """
        if (found := _read(start)) is None or not self._count:
            return Prospect(0.0, 1.0)
        distances = self._distances(*found)
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        weights = (distances[nearest] + BLUR) ** -2.0
        promise = float(weights @ self._worths[nearest] / (weights.sum() + PRIOR))
        return Prospect(promise, float(distances[nearest[0]]))

    def _distances(self, length: float, direction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The relative distance of each candidate, up to the sign, as between twins."""
        lengths = self._lengths[: self._count]
        longer = np.maximum(np.maximum(lengths, length), np.finfo(np.float64).tiny)
        one, other = lengths / longer, length / longer
        cosines = np.abs(self._directions[: self._count] @ direction)
        squares: NDArray[np.float64] = one**2 + other**2 - 2.0 * one * other * cosines
        return np.sqrt(np.maximum(squares, 0.0))


def _read(start: bytes | None) -> tuple[float, NDArray[np.float64]] | None:
    """The length of a sketch and its direction, of length one; None if there is no finite length."""
    if not start:
        return None
    length, direction = read_sketch(start)
    return (length, direction / (float(np.linalg.norm(direction)) or 1.0)) if isfinite(length) else None
