"""Forecasts: the line, the effects of features, and the error of leaving one out, beside a second computation."""

from __future__ import annotations

import random
from statistics import fmean

import numpy as np
import pytest

from evonas.judging.forecast import LEANING, LEAST_PAIRS, SHRINKAGE, Forecast, Pair, Scores, fitted


def plainly(pairs: list[Pair], family: tuple[str, ...], scores: Scores, sloped: bool = True) -> float:
    """The expected score, by least squares over the pairs and one further equation for each leaning and each effect,
    which sets it to 0."""
    values = sorted({(place, value) for f, _, _ in pairs for place, value in enumerate(f)})
    leads = np.array([[score - fmean(low) for score in low] for _, low, _ in pairs])
    spreads = [float(np.sqrt(np.mean((column - column.mean()) ** 2))) for column in leads.T]

    def row(f: tuple[object, ...], low: Scores) -> list[float]:
        mean = fmean(low)
        ahead = [(score - mean) / spread if spread > 1e-9 else 0.0 for score, spread in zip(low, spreads, strict=True)]
        return [1.0, mean if sloped else 0.0, *ahead, *(float(f[place] == value) for place, value in values)]

    inputs = [row(f, low) for f, low, _ in pairs]
    shrinkages = [LEANING] * len(spreads) + [SHRINKAGE] * len(values)
    inputs += [
        [0.0, 0.0, *(shrinkage**0.5 * (i == j) for j in range(len(shrinkages)))]
        for i, shrinkage in enumerate(shrinkages)
    ]
    targets = [high for *_, high in pairs] + [0.0] * len(shrinkages)
    found = np.linalg.lstsq(np.array(inputs), np.array(targets), rcond=None)[0]
    return float(found @ row(family, scores))


def sample(seed: int, count: int, slope: float = 0.5, networks: int = 1) -> list[Pair]:
    """Pairs in which the first of several networks alone knows what comes of a candidate."""
    rng, pairs = random.Random(seed), []
    for _ in range(count):
        family, low = (rng.choice("abc"), rng.choice("uv")), [rng.uniform(0.2, 0.4) for _ in range(networks)]
        high = 0.3 + slope * low[0] + 0.1 * (family[0] == "a") + rng.gauss(0.0, 0.02)
        pairs.append((family, tuple(low), high))
    return pairs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [LEAST_PAIRS, 30])
@pytest.mark.parametrize("networks", [1, 3])
def test_it_is_a_ridge_regression_with_the_error_of_leaving_one_out(seed: int, count: int, networks: int) -> None:
    pairs = sample(seed, count, 2.0, networks)
    forecast = fitted(pairs)
    for family, scores in ((("a", "u"), (0.2, 0.3, 0.4)), (("c", "v"), (0.35, 0.2, 0.25))):
        # The intercept and the slope have a penalty of 1e-9 on our side.
        found = forecast.expected(scores[:networks], family)
        assert found == pytest.approx(plainly(pairs, family, scores[:networks]), abs=1e-6)
    # Left out one at a time, with what networks are ahead of the mean measured as before.
    if networks == 1:
        errors = [high - plainly(pairs[:i] + pairs[i + 1 :], f, low) for i, (f, low, high) in enumerate(pairs)]  # type: ignore[arg-type]
        assert forecast.deviation == pytest.approx(1.4826 * float(np.median(np.abs(errors))), rel=1e-4)
    # A feature that nobody had counts for nothing.
    scores = (0.3, 0.4, 0.2)[:networks]
    assert forecast.expected(scores, ("new", "u")) == pytest.approx(
        forecast.expected(scores, ("a", "u")) - forecast.effects.get((0, "a"), 0.0)
    )


def test_a_network_that_knows_more_counts_more() -> None:
    forecast = fitted(sample(2, 200, 1.0, 3))
    first, *others = forecast.leanings
    assert first > 0.3 > 0.0 > max(others)
    # The others say nothing, whatever they have: a third of the slope and their leaning cancel.
    before, after = (forecast.expected((0.3, other, other), ("a", "u")) for other in (0.2, 0.4))
    assert before == pytest.approx(after, abs=0.02)
    assert forecast.expected((0.4, 0.3, 0.3), ("a", "u")) > forecast.expected((0.3, 0.4, 0.4), ("a", "u")) + 0.05


def test_a_higher_score_never_promises_less() -> None:
    pairs = sample(1, 40, slope=-1.0)
    forecast = fitted(pairs)
    assert forecast.slope == 0.0
    expected = plainly(pairs, ("a", "u"), (0.3,), sloped=False)
    assert forecast.expected((0.3,), ("a", "u")) == pytest.approx(expected, abs=1e-6)


def test_few_pairs_are_scaled_and_none_leave_scores_as_they_are() -> None:
    assert fitted([]) == Forecast()
    assert Forecast().expected((0.3, 0.5), ("a", "u")) == 0.4
    few = fitted([(("a",), (0.1, 0.3), 0.4), (("b",), (0.4, 0.4), 0.5)])
    assert few.expected((0.4, 0.4), ("a",)) == pytest.approx(0.6) and few.effects == {} and few.leanings == ()
    assert few.deviation == pytest.approx((0.1**2 + 0.1**2) ** 0.5)
    assert fitted([((), (0.0,), 0.4)]).expected((0.0,), ()) == pytest.approx(0.4)


def test_scores_that_are_all_equal_have_a_forecast() -> None:
    forecast = fitted([(("a",), (0.0, 0.0), 0.0)] * 20)
    assert forecast.expected((0.0, 0.0), ("a",)) == 0.0 and forecast.deviation == 0.0


def test_the_order_of_pairs_does_not_matter() -> None:
    pairs = sample(3, 40, networks=2)
    one, other = fitted(pairs), fitted(pairs[::-1])
    assert one.expected((0.3, 0.2), ("b", "v")) == pytest.approx(other.expected((0.3, 0.2), ("b", "v")), abs=1e-12)
