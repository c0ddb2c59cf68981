"""Statistics over a few seeds: confidence intervals of means, paired comparisons, and their correction.

Student's t-test assumes that scores over seeds are normally distributed. A handful of seeds is too few to check that,
so intervals and p-values are only a guide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

CONFIDENCE = 0.95
SIGNIFICANT = 1 - CONFIDENCE
"""The p-value from which on two layers are not told apart."""

_NO_SPREAD = 1e-12
"""A standard deviation of accuracies below this is due to rounding, and the values count as equal."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval of a mean, with the level `CONFIDENCE`."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference between two layers over the seeds that both were trained with.

    Attributes:
        difference: the mean of first minus second.
        interval: the confidence interval of the mean difference; None for fewer than two pairs.
        p: the two-sided p-value of the paired t-test, not corrected; None for fewer than two pairs, and if all
            differences are equal, because then the test statistic is not defined.
        pairs: the number of seeds compared.
    """

    difference: float
    interval: Interval | None
    p: float | None
    pairs: int


def interval(values: Sequence[float]) -> Interval | None:
    """The confidence interval of a mean: mean ± t · s / √n, with the t quantile of n − 1 degrees of freedom.

    The formula is from Student, "The probable error of a mean", Biometrika 6, 1908. Values that are all equal have an
    interval of width 0.

    Returns:
        The interval; None for fewer than two values, whose spread is unknown.
    """
    if len(values) < 2:
        return None
    from scipy.special import stdtrit  # importing scipy.stats would take much longer

    half = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2)) * stdev(values) / sqrt(len(values))
    mean = fmean(values)
    return Interval(mean - half, mean + half)


def paired(first: Sequence[float], second: Sequence[float]) -> Paired | None:
    """Compares paired scores by the t-test of their differences.

    With d the n differences, t = mean(d) · √n / s(d) has Student's distribution with n − 1 degrees of freedom under
    the null hypothesis that the expected difference is 0 (Student 1908).

    Args:
        first, second: the scores of the two layers, seed by seed.

    Returns:
        The comparison; None if there is no pair.

    Raises:
        ValueError: if the two are not equally long.
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
    """Corrects p-values for multiple comparisons, which controls the probability of any false positive among them.

    The method is from Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979: the smallest of m p-values is multiplied by m, the next by m − 1 and so on. None of the results
    is smaller than the one before it or greater than 1.

    Args:
        p_values: the p-values; a None stays None and does not count.
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p))
        corrected[place] = least
    return corrected
