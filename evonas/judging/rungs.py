"""Rungs: good candidates are trained again, longer and with another seed, and compared by all that is known of them.

The first evaluation of a candidate is rung 0. It is short, and the best of thousands of short trainings is mostly the
luckiest. So a share of the candidates on each rung goes on to the next, as in asynchronous successive halving (Li et
al. 2020, "A System for Massively Parallel Hyperparameter Tuning"): whenever a result comes in, the best candidate that
has not gone on does so if it is within that share. The best candidate of a family goes on, too, if it is in the better
half, and from rung 0 the first of each family, because a family that starts slowly may end well. (Before eight
candidates are there nothing goes on, so the first of their families do so by their scores alone.)

Layers with the same statistics are of one kind, such as all that normalise over the batch alone. One kind is often
ahead of the others at first, because it starts fast, and would fill every rung. So only a part of the share may be of
one kind; the next best of other kinds take the places of what is above that.

A candidate that diverges on a rung goes no further and promises nothing, however good its other trainings are: a layer
that loses one training in ten is no better than one that is a point behind. A rung with a higher learning rate finds
such layers sooner.

Candidates are compared by what their scores promise, those on one rung for the next, and those on different rungs for
the last one (`evonas/judging/forecast.py`).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf, isfinite, sqrt
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING

from evonas.judging.forecast import Features, Forecast, Leads, fitted

if TYPE_CHECKING:
    from evonas.settings.run_config import RunConfig

Scores = tuple[float, ...]
"""The accuracies of a candidate on the anchors of a rung, in their order."""

LEAST_BEFORE = 8
"""Candidates on a rung before any goes on, so that the first is not simply the first."""


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


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a candidate on a rung: its mean score there, and its leads there and below."""

    mean: float
    leads: Leads


@dataclass
class _Rung:
    """The candidates on one rung."""

    known: dict[int, _Known] = field(default_factory=dict)
    promised: dict[int, float] = field(default_factory=dict)
    """The expected score of each on the next rung."""
    ordered: list[tuple[float, int]] = field(default_factory=list)
    """(−expected score, index) of each, best first."""
    gone_on: set[int] = field(default_factory=set)
    """Those that have gone on or that may not."""
    tried: set[Features] = field(default_factory=set)
    """The families of those that have gone on."""
    leaders: dict[Features, float] = field(default_factory=dict)
    """The best score of each family."""
    forecast: Forecast = field(default_factory=Forecast)

    def add(self, index: int, known: _Known, family: Features) -> None:
        self.known[index] = known
        self.promised[index] = promised = self.forecast.expected(known.mean, known.leads, family)
        insort(self.ordered, (-promised, index))

    def follow(self, forecast: Forecast, families: dict[int, Features]) -> None:
        """Compare the candidates by another forecast from now on."""
        self.forecast = forecast
        self.promised = {
            index: forecast.expected(known.mean, known.leads, families[index]) for index, known in self.known.items()
        }
        self.ordered = sorted((-promised, index) for index, promised in self.promised.items())


class Ladder:
    """The scores of a run's candidates on its rungs, who goes on, and what is expected of each.

    Its state follows from the scores that were added and their order alone.

    Args:
        rungs: the number of rungs after the first evaluation.
        share: the share of the candidates on a rung that go on.
        of_one_kind: the part of that share, from 0 to 1, that may be of one kind; one candidate may in any case.

    Attributes:
        version: the number of scores that were added. What is expected of a candidate changes only with it.
    """

    @staticmethod
    def of(config: RunConfig) -> Ladder:
        """The empty ladder of a run."""
        return Ladder(len(config.rungs), config.promotion, config.of_one_kind)

    def __init__(self, rungs: int, share: float, of_one_kind: float = 1.0) -> None:
        self._rungs = [_Rung() for _ in range(rungs + 1)]
        self._share = share
        self._of_one_kind = of_one_kind
        self._families: dict[int, Features] = {}
        self._reached: dict[int, int] = {}
        self._roots: dict[int, int] = {}
        self._diverged: set[int] = set()
        self.version = 0

    def add(
        self, index: int, rung: int, scores: Sequence[float], family: Features = (), parent: int | None = None
    ) -> list[Promotion]:
        """Add the scores of a candidate on a rung.

        Args:
            index: the candidate.
            rung: 0, or one that the candidate was promoted to.
            scores: its accuracy on each anchor of the rung, always in the same order; 0 for a training that diverged,
                and one that is not finite counts as 0.
            family: the features of the candidate's family, of which the first is its kind; given on rung 0.
            parent: the candidate that it descends from, which was added before; given on rung 0, None for none.

        Returns:
            The candidates that go on as a result, none of them twice.
        """
        self.version += 1
        finite = [score if isfinite(score) else 0.0 for score in scores]
        here = self._rungs[rung]
        self._reached[index] = rung
        if rung == 0:
            self._families[index] = family
            self._roots[index] = index if parent is None else self._roots.get(parent, parent)
        below = self._rungs[rung - 1].known[index].leads if rung else ()
        mean = fmean(finite)
        here.add(index, _Known(mean, (*below, *(score - mean for score in finite))), self._families[index])
        if rung and 0.0 in finite:
            self._diverged.add(index)
            here.gone_on.add(index)
        if rung:
            lower = self._rungs[rung - 1]
            pairs = [
                (self._families[one], lower.known[one].mean, lower.known[one].leads, high.mean)
                for one, high in here.known.items()
            ]
            lower.follow(fitted(pairs), self._families)
        if rung + 1 == len(self._rungs):
            return []
        return [Promotion(found, rung + 1) for found in self._going_on(here, index, first=rung == 0)]

    @property
    def indices(self) -> Sequence[int]:
        """The candidates that have been added, in the order of their addition."""
        return tuple(self._reached)

    def scores(self, index: int) -> tuple[float, ...]:
        """The candidate's mean scores from rung 0 to the last that it reached."""
        return tuple(self._rungs[rung].known[index].mean for rung in range(self._reached[index] + 1))

    def outlook(self, index: int) -> Outlook:
        """What is expected of a candidate that has been added: nothing if it diverged on a rung."""
        if index in self._diverged:
            return Outlook(0.0, 0.0)
        reached = self._reached[index]
        known, variance = self._rungs[reached].known[index], 0.0
        mean = known.mean
        for here in self._rungs[reached:-1]:
            mean = here.forecast.expected(mean, known.leads, self._families[index])
            variance = here.forecast.slope**2 * variance + here.forecast.deviation**2
        return Outlook(mean, sqrt(variance))

    def family(self, index: int) -> Features:
        """The family of a candidate that has been added."""
        return self._families[index]

    def kind(self, index: int) -> Hashable:
        """The kind of a candidate that has been added: which statistics it uses. None if nothing is known of it."""
        family = self._families[index]
        return family[0] if family else None

    def root(self, index: int) -> int:
        """The first ancestor of a candidate that has been added: a seed graph or a random one."""
        return self._roots[index]

    def _going_on(self, here: _Rung, index: int, first: bool) -> list[int]:
        """The candidates that go on when one, which may be among them, has been added.

        Args:
            here: the rung.
            index: the candidate that has been added.
            first: whether one of each family goes on in any case.
        """
        count, family, score = len(here.ordered), self._families[index], here.known[index].mean
        leads = index not in here.gone_on and score > here.leaders.get(family, -1.0)
        if leads:
            here.leaders[family] = score
        if count < LEAST_BEFORE:
            return []
        chosen = []
        best = self._best_in_share(here, int(self._share * count))
        if best is not None:
            chosen.append(best)
        in_better_half = count - bisect_right(here.ordered, (-here.promised[index], inf)) >= count // 2
        if leads and (in_better_half or (first and family not in here.tried)) and index not in chosen:
            chosen.append(index)
        here.gone_on.update(chosen)
        here.tried.update(self._families[one] for one in chosen)
        return chosen

    def _best_in_share(self, here: _Rung, quota: int) -> int | None:
        """The best candidate that has not gone on, if it is among the best so many; None if none of them is left."""
        limit = max(1, round(self._of_one_kind * quota))
        better, of_kind = 0, Counter[Hashable]()
        for _, equals in groupby(here.ordered, itemgetter(0)):
            if better >= quota:
                return None
            alike = [index for _, index in equals if of_kind[self.kind(index)] < limit]
            if left := [index for index in alike if index not in here.gone_on]:
                return left[0]
            better += len(alike)
            of_kind.update(map(self.kind, alike))
        return None
