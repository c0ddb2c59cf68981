"""Intervals, paired comparisons and Holm's correction, against scipy and numbers worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evonas.reruns.significance import CONFIDENCE, Interval, holm, interval, paired

SCORES = st.lists(st.integers(0, 1000).map(lambda k: k / 1000), min_size=2, max_size=9)


@given(SCORES)
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = interval(values)
    assert found is not None
    if len(set(values)) == 1:
        assert found == Interval(values[0], values[0]) or (found.low, found.high) == pytest.approx((values[0],) * 2)
        return
    low, high = stats.t.interval(CONFIDENCE, len(values) - 1, stats.tmean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_an_interval_by_hand() -> None:
    # Mean 0.6, s = 0.1, n = 3; t of two degrees of freedom at 97.5% is 4.302653 in any table.
    found = interval([0.5, 0.6, 0.7])
    assert found is not None
    half = 4.302653 * 0.1 / 3**0.5
    assert (found.low, found.high) == pytest.approx((0.6 - half, 0.6 + half), abs=1e-6)


@given(SCORES.flatmap(lambda first: st.tuples(st.just(first), st.permutations(first))))
def test_the_comparison_is_scipys_paired_t_test(pair: tuple[list[float], list[float]]) -> None:
    first, second = pair
    second = [value / 2 + 0.001 * place for place, value in enumerate(second)]
    found = paired(first, second)
    assert found is not None and found.pairs == len(first)
    differences = [a - b for a, b in zip(first, second, strict=True)]
    assert found.difference == pytest.approx(sum(differences) / len(differences))
    assert found.interval == interval(differences)
    if max(differences) - min(differences) < 1e-9:
        assert found.p is None
    else:
        assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=1e-9)


def test_one_pair_has_a_difference_and_nothing_else_and_no_pair_has_nothing() -> None:
    found = paired([0.75], [0.5])
    assert found is not None
    assert (found.difference, found.interval, found.p, found.pairs) == (0.25, None, None, 1)
    assert paired([], []) is None
    assert interval([0.5]) is None and interval([]) is None


def test_differences_that_are_all_the_same_have_no_p_value() -> None:
    # In floating point they are not: 0.3 - 0.1 and 0.4 - 0.2 differ in the last bit, which is no spread.
    for first, second in (([0.3, 0.4, 0.5], [0.1, 0.2, 0.3]), ([0.5, 0.7], [0.5, 0.7])):
        found = paired(first, second)
        assert found is not None and found.interval is not None
        assert found.p is None
        assert found.interval.high - found.interval.low < 1e-12


def test_scores_of_different_seeds_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([0.5, 0.6], [0.5])


def test_holm_by_hand() -> None:
    # Holm's own scheme: 0.01 · 4, 0.013 · 3 which may not fall below it, 0.03 · 2, 0.6 · 1.
    assert holm([0.03, 0.01, 0.6, 0.013]) == pytest.approx([0.06, 0.04, 0.6, 0.04])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04, None, 0.01]) == [0.04, None, 0.02]
    assert holm([]) == [] and holm([None]) == [None]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_helps(values: list[float]) -> None:
    corrected = holm(values)
    for (p, c), (q, d) in (
        (a, b) for a in zip(values, corrected, strict=True) for b in zip(values, corrected, strict=True)
    ):
        assert c is not None and d is not None
        assert p <= c <= 1
        assert c <= d or p > q
