"""What a score on one rung promises for the next, learned from the candidates that have both.

Layers of different kinds learn at different speeds: one without any nonlinearity is ahead after a hundred steps and
far behind after four hundred. So the forecast is a line over the score, and in addition an effect of each feature of
the candidate's family. The line's slope is below one where scores are noisy, so a lucky score promises no more than it
should. Effects are shrunk towards zero, so that a family of which little is known is taken for an average one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

LEAST_PAIRS = 8
"""Candidates with both scores below which a line goes through the origin and their mean: two numbers cannot be fitted
to fewer without following their noise."""
SHRINKAGE = 1.0
"""The penalty of ridge regression on the square of an effect, in squared residuals: it halves what one candidate says.
"""

Features = tuple[Hashable, ...]
"""The features of a family, in a fixed order: a value counts for its feature alone."""
Pair = tuple[Features, float, float]
"""The features of a candidate's family, its score on a rung, and its score on the next."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The expected score on the next rung, as a function of a score and the features of a family.

    Attributes:
        intercept, slope: those of the line.
        effects: what is added for each feature, by its place and value; 0 for those that are not there.
        deviation: how far candidates typically are from what is expected of them from all other candidates, as the
            standard deviation of normally distributed errors.
    """

    intercept: float = 0.0
    slope: float = 1.0
    effects: Mapping[tuple[int, Hashable], float] = field(default_factory=dict)
    deviation: float = 0.0

    def expected(self, score: float, family: Features) -> float:
        """The expected score on the next rung."""
        return self.intercept + self.slope * score + sum(self.effects.get(each, 0.0) for each in enumerate(family))


def fitted(pairs: Sequence[Pair]) -> Forecast:
    """The forecast from the candidates that have both scores, in any order; scores as they are if there is none.

    It is a ridge regression in which the effects alone are penalised, with a slope of at least 0. Its deviation is
    1.4826 times the median size of the errors of leaving out one candidate each, so that a candidate that collapsed
    does not make every other one doubtful.
    """
    low, high = np.array([pair[1] for pair in pairs]), np.array([pair[2] for pair in pairs])
    if not pairs:
        return Forecast()
    if len(pairs) < LEAST_PAIRS:
        slope = float(high.mean() / low.mean()) if low.mean() > 0.0 else 1.0
        errors = high - slope * low - (high.mean() - slope * low.mean())
        return Forecast(
            float(high.mean() - slope * low.mean()), slope, {}, sqrt(float(errors @ errors) / max(1, len(pairs) - 2))
        )
    values = sorted({each for family, _, _ in pairs for each in enumerate(family)}, key=repr)
    columns = [np.ones(len(pairs)), low]
    columns += [np.array([float(place < len(f) and f[place] == value) for f, _, _ in pairs]) for place, value in values]
    found, deviation = _ridge(np.stack(columns, 1), high)
    if found[1] < 0.0:
        del columns[1]
        found, deviation = _ridge(np.stack(columns, 1), high, unpenalised=1)
        found.insert(1, 0.0)
    return Forecast(found[0], found[1], dict(zip(values, found[2:], strict=True)), deviation)


def _ridge(
    inputs: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    targets: np.ndarray[tuple[int], np.dtype[np.float64]],
    unpenalised: int = 2,
) -> tuple[list[float], float]:
    """The coefficients, of which the first few are not penalised, and the deviation when one row is left out."""
    penalty = np.full(inputs.shape[1], SHRINKAGE)
    penalty[:unpenalised] = 1e-9  # for scores that are all equal
    solved = np.linalg.solve(inputs.T @ inputs + np.diag(penalty), inputs.T)
    coefficients = solved @ targets
    leverage = np.einsum("ij,ji->i", inputs, solved)
    # The error of a row that is left out, without fitting again (Allen's PRESS statistic).
    errors = (targets - inputs @ coefficients) / np.maximum(1.0 - leverage, 1e-6)
    return coefficients.tolist(), float(1.4826 * np.median(np.abs(errors)))
