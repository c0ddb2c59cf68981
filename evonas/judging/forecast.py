"""What a score on one rung promises for the next, learned from the candidates that have both.

Layers of different kinds learn at different speeds: one without any nonlinearity is ahead after a hundred steps and
far behind after four hundred. And networks differ in how soon they tell layers apart: after a hundred steps one may
have the order that all of them will have in the end, and another none. So the forecast is a line over the mean score,
and in addition a weight for what each network is ahead of the mean, on this rung and on lower ones, and an effect of
each feature of the candidate's family. The line's slope is below one where scores are noisy, so a lucky score promises
no more than it should. Weights and effects are shrunk towards zero, so that a family of which little is known is taken
for an average one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

_Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
_Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]

_FREE = 1e-9
"""The penalty on what is not penalised, for scores that are all equal."""
_EQUAL = 1e-9
"""Standard deviations below this are rounding."""

LEAST_PAIRS = 8
"""Candidates with both scores below which a line goes through the origin and their mean: two numbers cannot be fitted
to fewer without following their noise."""
SHRINKAGE = 1.0
"""The penalty of ridge regression on the square of an effect, in squared residuals: it halves what one candidate says.
"""

LEANING = 5.0
"""The same penalty on the weight of a lead that is measured in standard deviations."""

Features = tuple[Hashable, ...]
"""The features of a family, in a fixed order: a value counts for its feature alone."""
Leads = tuple[float, ...]
"""What a candidate has on each network, in a fixed order, less its mean on that rung."""
Pair = tuple[Features, float, Leads, float]
"""The features of a candidate's family, its mean score on a rung, its leads there and on the rungs below, those of the
lowest first, and its mean score on the next rung."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected mean score on the next rung, as a function of the scores on this one and the features of a family.

    Attributes:
        intercept, slope: those of the line over the mean score.
        leanings: what each lead counts; empty for nothing.
        effects: what is added for each feature, by its place and value; 0 for those that are not there.
        deviation: how far candidates typically are from what is expected of them from all other candidates, as the
            standard deviation of normally distributed errors.
    """

    intercept: float = 0.0
    slope: float = 1.0
    leanings: tuple[float, ...] = ()
    effects: Mapping[tuple[int, Hashable], float] = field(default_factory=dict)
    deviation: float = 0.0

    def expected(self, mean: float, leads: Leads, family: Features) -> float:
        """The expected mean score on the next rung; leads that are not known, at the end, count as 0."""
        leaning = sum(weight * lead for weight, lead in zip(self.leanings, leads, strict=False))
        effect = sum(self.effects.get(each, 0.0) for each in enumerate(family))
        return self.intercept + self.slope * mean + leaning + effect


def fitted(pairs: Sequence[Pair]) -> Forecast:
    """The forecast from the candidates that have both scores, in any order; scores as they are if there is none.

    It is a ridge regression in which leanings and effects alone are penalised, with a slope of at least 0. Its
    deviation is 1.4826 times the median size of the errors of leaving out one candidate each, so that a candidate that
    collapsed does not make every other one doubtful. From fewer than `LEAST_PAIRS` it is a line through the origin and
    the means, and its deviation is the root of the squared errors by their number less two; of one or two pairs it says
    little.
    """
    if not pairs:
        return Forecast()
    mean, high = np.array([pair[1] for pair in pairs]), np.array([pair[3] for pair in pairs])
    if len(pairs) < LEAST_PAIRS:
        slope = float(high.mean() / mean.mean()) if mean.mean() > 0.0 else 1.0
        intercept = float(high.mean() - slope * mean.mean())
        errors = high - slope * mean - intercept
        return Forecast(intercept, slope, deviation=sqrt(float(errors @ errors) / max(1, len(pairs) - 2)))
    leads = np.array([pair[2] for pair in pairs], dtype=np.float64).reshape(len(pairs), -1)
    scales = leads.std(0)
    scales[scales < _EQUAL] = np.inf  # a lead that all have alike says nothing
    values = sorted({each for family, *_ in pairs for each in enumerate(family)}, key=repr)
    features = [[float(place < len(f) and f[place] == value) for place, value in values] for f, *_ in pairs]
    inputs = np.column_stack([np.ones(len(pairs)), mean, leads / scales, np.array(features).reshape(len(pairs), -1)])
    penalties = np.array([_FREE, _FREE, *[LEANING] * len(scales), *[SHRINKAGE] * len(values)])
    found, deviation = _ridge(inputs, high, penalties)
    if found[1] < 0.0:
        found, deviation = _ridge(np.delete(inputs, 1, 1), high, np.delete(penalties, 1))
        found = np.insert(found, 1, 0.0)
    leanings = tuple((found[2 : 2 + len(scales)] / scales).tolist())
    effects = dict(zip(values, found[2 + len(scales) :].tolist(), strict=True))
    return Forecast(float(found[0]), float(found[1]), leanings, effects, deviation)


def _ridge(inputs: _Matrix, targets: _Vector, penalties: _Vector) -> tuple[_Vector, float]:
    """The coefficients, and the deviation when one row is left out."""
    solved = np.linalg.solve(inputs.T @ inputs + np.diag(penalties), inputs.T)
    coefficients: _Vector = solved @ targets
    leverage = np.einsum("ij,ji->i", inputs, solved)
    # The error of a row that is left out, without fitting again (Allen's PRESS statistic).
    errors = (targets - inputs @ coefficients) / np.maximum(1.0 - leverage, 1e-6)
    return coefficients, float(1.4826 * np.median(np.abs(errors)))
