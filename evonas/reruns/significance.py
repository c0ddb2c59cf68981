"""What a few trainings say about a layer: intervals of means, paired comparisons, and their correction.

Scores over seeds are taken for draws from a normal distribution, as Student's t-test does. With a handful of
seeds nothing tells whether they are, so intervals and p-values are a guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

CONFIDENCE = 0.95

_NO_SPREAD = 1e-12
"""Standard deviations of accuracies below this are rounding: the values are all the same."""


@dataclass(frozen=True, slots=True)
class Interval:
    """From where to where a mean lies, with `CONFIDENCE`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two layers over the seeds that both were trained with.

    Attributes:
        difference: mean of first less second.
        interval: of the mean difference; None for fewer than two pairs.
        p: two-sided p-value of the paired t-test, not corrected; None for fewer than two pairs, and where
            all differences are the same, for which the test's statistic is not defined.
        pairs: how many seeds were compared.
    """

    difference: float
    interval: Interval | None
    p: float | None
    pairs: int


def interval(values: Sequence[float]) -> Interval | None:
    """The confidence interval of the mean: mean ± t · s / √n, with t of n − 1 degrees of freedom.

    Student, "The probable error of a mean", Biometrika 6, 1908. Values that are all the same give an
    interval of no width.

    Returns:
        None for fewer than two values, of which no spread is known.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # scipy.stats would take longer to import than all else here

    half = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2)) * stdev(values) / sqrt(len(values))
    mean = fmean(values)
    return Interval(mean - half, mean + half)


def paired(first: Sequence[float], second: Sequence[float]) -> Paired | None:
    """Compares scores that belong together in pairs: the t-test of their differences against 0.

    With d the differences, t = mean(d) · √n / s(d) has n − 1 degrees of freedom where nothing but chance
    tells the two apart (Student 1908).

    Returns:
        None where there is no pair.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    if not differences:
        return None
    count, mean = len(differences), fmean(differences)
    p = None
    if count > 1 and (spread := stdev(differences)) > _NO_SPREAD:
        from scipy.special import stdtr

        p = 2 * float(stdtr(count - 1, -abs(mean) * sqrt(count) / spread))
    return Paired(mean, interval(differences), p, count)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number, so that 5% is the chance of any false finding among them.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979: of m, the smallest is multiplied by m, the next by m − 1 and so on; none may be below the one
    before it, nor above 1. A None stays one and does not count.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[place] = least
    return corrected
