"""Forecasts: the line, the effects of features, and the error of leaving one out, beside a second computation."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evonas.judging.forecast import LEAST_PAIRS, SHRINKAGE, Forecast, Pair, fitted


def plainly(pairs: list[Pair], family: tuple[str, ...], score: float, sloped: bool = True) -> float:
    """The expected score, by least squares over the pairs and one further equation, effect = 0, for each feature."""
    values = sorted({(place, value) for f, _, _ in pairs for place, value in enumerate(f)})

    def row(f: tuple[object, ...], low: float) -> list[float]:
        return [1.0, low if sloped else 0.0, *(float(f[place] == value) for place, value in values)]

    inputs = [row(f, low) for f, low, _ in pairs]
    inputs += [[0.0, 0.0, *(SHRINKAGE**0.5 * (i == j) for j in range(len(values)))] for i in range(len(values))]
    targets = [high for *_, high in pairs] + [0.0] * len(values)
    found = np.linalg.lstsq(np.array(inputs), np.array(targets), rcond=None)[0]
    known = [float(family[place] == value) for place, value in values]
    return float(found @ [1.0, score if sloped else 0.0, *known])


def sample(seed: int, count: int, slope: float = 0.5) -> list[Pair]:
    rng, pairs = random.Random(seed), []
    for _ in range(count):
        family, low = (rng.choice("abc"), rng.choice("uv")), rng.uniform(0.2, 0.4)
        pairs.append((family, low, 0.3 + slope * low + 0.1 * (family[0] == "a") + rng.gauss(0.0, 0.02)))
    return pairs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [LEAST_PAIRS, 30])
def test_it_is_a_ridge_regression_with_the_error_of_leaving_one_out(seed: int, count: int) -> None:
    pairs = sample(seed, count, slope=2.0)
    forecast = fitted(pairs)
    for family, score in ((("a", "u"), 0.2), (("c", "v"), 0.35)):
        # The intercept and the slope have a penalty of 1e-9 on our side.
        assert forecast.expected(score, family) == pytest.approx(plainly(pairs, family, score), abs=1e-6)
    errors = [high - plainly(pairs[:i] + pairs[i + 1 :], f, low) for i, (f, low, high) in enumerate(pairs)]  # type: ignore[arg-type]
    assert forecast.deviation == pytest.approx(1.4826 * float(np.median(np.abs(errors))), rel=1e-4)
    # A feature that nobody had counts for nothing.
    assert forecast.expected(0.3, ("new", "u")) == pytest.approx(
        forecast.expected(0.3, ("a", "u")) - forecast.effects[0, "a"]
    )


def test_a_higher_score_never_promises_less() -> None:
    pairs = sample(1, 40, slope=-1.0)
    forecast = fitted(pairs)
    assert forecast.slope == 0.0
    assert forecast.expected(0.3, ("a", "u")) == pytest.approx(plainly(pairs, ("a", "u"), 0.3, sloped=False), abs=1e-6)


def test_few_pairs_are_scaled_and_none_leave_scores_as_they_are() -> None:
    assert fitted([]) == Forecast()
    assert Forecast().expected(0.4, ("a", "u")) == 0.4
    few = fitted([(("a",), 0.2, 0.4), (("b",), 0.4, 0.5)])
    assert few.expected(0.4, ("a",)) == pytest.approx(0.6) and few.effects == {}
    assert few.deviation == pytest.approx((0.1**2 + 0.1**2) ** 0.5)
    assert fitted([((), 0.0, 0.4)]).expected(0.0, ()) == pytest.approx(0.4)


def test_scores_that_are_all_equal_have_a_forecast() -> None:
    forecast = fitted([(("a",), 0.0, 0.0)] * 20)
    assert forecast.expected(0.0, ("a",)) == 0.0 and forecast.deviation == 0.0


def test_the_order_of_pairs_does_not_matter() -> None:
    pairs = sample(3, 40)
    one, other = fitted(pairs), fitted(pairs[::-1])
    assert one.expected(0.3, ("b", "v")) == pytest.approx(other.expected(0.3, ("b", "v")), abs=1e-12)
