"""Rungs: good candidates are trained again, longer and with another seed, and compared by all that is known of them.

The first evaluation of a candidate is rung 0. It is short, and the best of thousands of short trainings is mostly the
luckiest. So a share of the candidates on each rung goes on to the next, as in asynchronous successive halving (Li et
al. 2020, "A System for Massively Parallel Hyperparameter Tuning"): whenever a result comes in, the best candidate that
has not gone on does so if it is within that share. The best candidate of a family goes on, too, if it is in the better
half, because a family that starts slowly may end well.

Scores of different rungs are compared by what they promise for the last one. What a score on one rung promises for the
next is a line, fitted to the candidates that have both. Its slope is below one where scores are noisy, so that a lucky
score promises no more than it should, and the spread of its residuals says how far to trust it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import isfinite, sqrt

LEAST_PAIRS = 8
"""Candidates with both scores below which a line goes through the origin and their mean: two numbers cannot be fitted
to fewer without following their noise."""
LEAST_BEFORE = 8
"""Candidates on a rung before any goes on, so that the first is not simply the first."""

_Line = tuple[float, float, float]
"""Intercept, slope, and standard deviation of the residuals."""
_IDENTITY: _Line = (0.0, 1.0, 0.0)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A candidate that goes on to a rung."""

    index: int
    rung: int


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is expected of a candidate on the last rung.

    Attributes:
        score: the expected mean accuracy.
        spread: the standard deviation of what candidates reached about what was expected of them.
    """

    score: float
    spread: float

    @property
    def cautious(self) -> float:
        """The expected accuracy less one standard deviation, by which candidates are compared."""
        return self.score - self.spread


@dataclass
class _Rung:
    """The candidates on one rung."""

    scores: dict[int, float] = field(default_factory=dict)
    ordered: list[float] = field(default_factory=list)
    waiting: list[tuple[float, int]] = field(default_factory=list)
    """A heap of the candidates that have not gone on: (−score, index)."""
    gone_on: set[int] = field(default_factory=set)
    leaders: dict[Hashable, float] = field(default_factory=dict)
    """The best score of each family."""


class Ladder:
    """The scores of a run's candidates on its rungs, who goes on, and what is expected of each.

    Its state follows from the scores that were added and their order alone.

    Args:
        rungs: the number of rungs after the first evaluation.
        share: the share of the candidates on a rung that go on.

    Attributes:
        version: the number of scores that were added. What is expected of a candidate changes only with it.
    """

    def __init__(self, rungs: int, share: float) -> None:
        self._rungs = [_Rung() for _ in range(rungs + 1)]
        self._share = share
        self._families: dict[int, Hashable] = {}
        self._reached: dict[int, int] = {}
        self.version = 0
        self._lines = [(0, _IDENTITY)] * rungs  # with the number of candidates that each was fitted to

    def add(self, index: int, rung: int, score: float, family: Hashable = None) -> list[Promotion]:
        """Add the mean score of a candidate on a rung.

        Args:
            index: the candidate.
            rung: 0, or one that the candidate was promoted to.
            score: its mean accuracy; one that is not finite counts as 0.
            family: the candidate's family; given on rung 0.

        Returns:
            The candidates that go on as a result, none of them twice.
        """
        self.version += 1
        score = score if isfinite(score) else 0.0
        here = self._rungs[rung]
        here.scores[index] = score
        insort(here.ordered, score)
        self._reached[index] = rung
        if rung == 0:
            self._families[index] = family
        if rung + 1 == len(self._rungs):
            return []
        heappush(here.waiting, (-score, index))
        return [Promotion(found, rung + 1) for found in self._going_on(here, index, score)]

    @property
    def indices(self) -> Sequence[int]:
        """The candidates that have been added, in the order of their addition."""
        return tuple(self._reached)

    def scores(self, index: int) -> tuple[float, ...]:
        """The candidate's scores from rung 0 to the last that it reached."""
        return tuple(self._rungs[rung].scores[index] for rung in range(self._reached[index] + 1))

    def outlook(self, index: int) -> Outlook:
        """What is expected of a candidate that has been added."""
        reached = self._reached[index]
        score, variance = self._rungs[reached].scores[index], 0.0
        for rung in range(reached, len(self._rungs) - 1):
            intercept, slope, residual = self._line(rung)
            score = intercept + slope * score
            variance = slope**2 * variance + residual**2
        return Outlook(score, sqrt(variance))

    def family(self, index: int) -> Hashable:
        """The family of a candidate that has been added."""
        return self._families[index]

    def _going_on(self, here: _Rung, index: int, score: float) -> list[int]:
        count, family = len(here.ordered), self._families[index]
        leads = score > here.leaders.get(family, -1.0)
        if leads:
            here.leaders[family] = score
        if count < LEAST_BEFORE:
            return []
        chosen = []
        quota = int(self._share * count)
        while here.waiting and here.waiting[0][1] in here.gone_on:
            heappop(here.waiting)
        if quota and here.waiting and -here.waiting[0][0] >= here.ordered[count - quota]:
            best = heappop(here.waiting)[1]
            chosen.append(best)
        in_better_half = bisect_left(here.ordered, score) >= count // 2
        if leads and in_better_half and index not in here.gone_on and index not in chosen:
            chosen.append(index)
        here.gone_on.update(chosen)
        return chosen

    def _line(self, rung: int) -> _Line:
        """Intercept, slope and residual standard deviation of the next rung's scores over those of this rung."""
        low, high = self._rungs[rung].scores, self._rungs[rung + 1].scores
        count, line = self._lines[rung]
        if count != len(high):
            line = _fitted([(low[index], score) for index, score in high.items()])
            self._lines[rung] = len(high), line
        return line


def _fitted(pairs: list[tuple[float, float]]) -> _Line:
    """Least squares: intercept, slope, and the standard deviation of the residuals. The slope is at least 0."""
    count = len(pairs)
    mean_low, mean_high = sum(low for low, _ in pairs) / count, sum(high for _, high in pairs) / count
    variance = sum((low - mean_low) ** 2 for low, _ in pairs)
    if count < LEAST_PAIRS or variance <= 0.0:
        slope = mean_high / mean_low if mean_low > 0.0 else 1.0
    else:
        slope = max(0.0, sum((low - mean_low) * (high - mean_high) for low, high in pairs) / variance)
    intercept = mean_high - slope * mean_low
    squares = sum((high - intercept - slope * low) ** 2 for low, high in pairs)
    return intercept, slope, sqrt(squares / max(1, count - 2))
