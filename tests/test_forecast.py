"""Forecasts: the line, the effects of features, and the error of leaving one out, beside a second computation."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evonas.judging.forecast import LEANING, LEAST_PAIRS, SHRINKAGE, Forecast, Leads, Pair, fitted


def plainly(pairs: list[Pair], family: tuple[str, ...], mean: float, leads: Leads, sloped: bool = True) -> float:
    """The expected score, by least squares over the pairs and one further equation for each leaning and each effect,
    which sets it to 0."""
    values = sorted({(place, value) for f, *_ in pairs for place, value in enumerate(f)})
    columns = np.array([pair[2] for pair in pairs]).T.reshape(-1, len(pairs))
    spreads = [float(np.sqrt(np.mean((column - column.mean()) ** 2))) for column in columns]

    def row(f: tuple[object, ...], low: float, ahead: Leads) -> list[float]:
        scaled = [lead / spread if spread > 1e-9 else 0.0 for lead, spread in zip(ahead, spreads, strict=True)]
        return [1.0, low if sloped else 0.0, *scaled, *(float(f[place] == value) for place, value in values)]

    inputs = [row(f, low, ahead) for f, low, ahead, _ in pairs]
    shrinkages = [LEANING] * len(spreads) + [SHRINKAGE] * len(values)
    inputs += [
        [0.0, 0.0, *(shrinkage**0.5 * (i == j) for j in range(len(shrinkages)))]
        for i, shrinkage in enumerate(shrinkages)
    ]
    targets = [high for *_, high in pairs] + [0.0] * len(shrinkages)
    found = np.linalg.lstsq(np.array(inputs), np.array(targets), rcond=None)[0]
    return float(found @ row(family, mean, leads))


def sample(seed: int, count: int, slope: float = 0.5, networks: int = 0) -> list[Pair]:
    """Pairs in which the first lead, if there are any, tells as much as the mean."""
    rng, pairs = random.Random(seed), []
    for _ in range(count):
        family, mean = (rng.choice("abc"), rng.choice("uv")), rng.uniform(0.2, 0.4)
        leads = tuple(rng.gauss(0.0, 0.05) for _ in range(networks))
        high = 0.3 + slope * (mean + sum(leads[:1])) + 0.1 * (family[0] == "a") + rng.gauss(0.0, 0.02)
        pairs.append((family, mean, leads, high))
    return pairs


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [LEAST_PAIRS, 30])
@pytest.mark.parametrize("networks", [0, 3])
def test_it_is_a_ridge_regression_with_the_error_of_leaving_one_out(seed: int, count: int, networks: int) -> None:
    pairs = sample(seed, count, 2.0, networks)
    forecast = fitted(pairs)
    for family, mean, leads in ((("a", "u"), 0.2, (0.05, 0.0, -0.05)), (("c", "v"), 0.35, (-0.02, 0.01, 0.01))):
        # The intercept and the slope have a penalty of 1e-9 on our side.
        found = forecast.expected(mean, leads[:networks], family)
        assert found == pytest.approx(plainly(pairs, family, mean, leads[:networks]), abs=1e-6)
    if not networks:  # with them, leaving one out changes the standard deviations too
        errors = [high - plainly(pairs[:i] + pairs[i + 1 :], f, low, ()) for i, (f, low, _, high) in enumerate(pairs)]  # type: ignore[arg-type]
        assert forecast.deviation == pytest.approx(1.4826 * float(np.median(np.abs(errors))), rel=1e-4)
    # A feature that nobody had counts for nothing.
    assert forecast.expected(0.3, (), ("new", "u")) == pytest.approx(
        forecast.expected(0.3, (), ("a", "u")) - forecast.effects.get((0, "a"), 0.0)
    )


def test_a_lead_counts_as_far_as_it_tells_something() -> None:
    forecast = fitted(sample(2, 200, 1.0, 3))
    first, *others = forecast.leanings
    assert first == pytest.approx(1.0, abs=0.1) and max(map(abs, others)) < 0.1  # standard error 0.03
    known = forecast.expected(0.3, (0.05, 0.1, 0.1), ("a", "u"))
    assert known == pytest.approx(forecast.expected(0.3, (0.05,), ("a", "u")), abs=0.02)
    assert known > forecast.expected(0.3, (), ("a", "u")) + 0.03


def test_a_lead_that_all_have_alike_says_nothing() -> None:
    pairs = [(family, mean, (0.1, *leads), high) for family, mean, leads, high in sample(5, 40, networks=1)]
    forecast = fitted(pairs)
    assert forecast.leanings[0] == 0.0 and np.isfinite(forecast.expected(0.3, (0.1, 0.0), ("a", "u")))


def test_a_higher_score_never_promises_less() -> None:
    pairs = sample(1, 40, slope=-1.0)
    forecast = fitted(pairs)
    assert forecast.slope == 0.0
    expected = plainly(pairs, ("a", "u"), 0.3, (), sloped=False)
    assert forecast.expected(0.3, (), ("a", "u")) == pytest.approx(expected, abs=1e-6)


def test_few_pairs_are_scaled_and_none_leave_scores_as_they_are() -> None:
    assert fitted([]) == Forecast()
    assert Forecast().expected(0.4, (-0.1, 0.1), ("a", "u")) == 0.4
    few = fitted([(("a",), 0.2, (-0.1, 0.1), 0.4), (("b",), 0.4, (0.0, 0.0), 0.5)])
    assert few.expected(0.4, (0.1,), ("a",)) == pytest.approx(0.6) and few.effects == {} and few.leanings == ()
    assert few.deviation == pytest.approx((0.1**2 + 0.1**2) ** 0.5)
    assert fitted([((), 0.0, (), 0.4)]).expected(0.0, (), ()) == pytest.approx(0.4)


def test_scores_that_are_all_equal_have_a_forecast() -> None:
    forecast = fitted([(("a",), 0.0, (0.0, 0.0), 0.0)] * 20)
    assert forecast.expected(0.0, (0.0, 0.0), ("a",)) == 0.0 and forecast.deviation == 0.0


def test_the_order_of_pairs_does_not_matter() -> None:
    pairs = sample(3, 40, networks=2)
    first, second = (fitted(each).expected(0.3, (0.1, 0.0), ("b", "v")) for each in (pairs, pairs[::-1]))
    assert first == pytest.approx(second, abs=1e-12)
