"""The ladder: who goes on to longer training, and what is expected of a candidate."""

from __future__ import annotations

import random
from collections import Counter
from statistics import fmean, median

import pytest

from evonas.judging.forecast import Pair, fitted
from evonas.judging.rungs import LEAST_BEFORE, Ladder, Promotion


def climbed(scores: list[float], share: float = 0.25, families: list[str] | None = None) -> list[Promotion]:
    """The promotions from rung 0, in order, when candidates with these scores arrive one after another."""
    ladder, found = Ladder(1, share), []
    for index, score in enumerate(scores):
        found += ladder.add(index, 0, (score,), (families[index],) if families else ())
    return found


def test_the_share_goes_on_and_it_is_the_best() -> None:
    scores = random.Random(1).sample([i / 400 for i in range(400)], 400)
    gone = [promotion.index for promotion in climbed(scores)]
    assert len(set(gone)) == len(gone)
    assert 90 <= len(gone) <= 130  # a quarter, and those that were within it when they came
    assert fmean(scores[i] for i in gone) > 0.8
    # The very best never waits for long: when it comes, it is within any share.
    assert scores.index(max(scores)) in gone


def test_nobody_goes_on_before_there_is_something_to_compare_with() -> None:
    assert climbed([0.5 + i / 100 for i in range(LEAST_BEFORE - 1)]) == []
    assert climbed([0.5 + i / 100 for i in range(LEAST_BEFORE)]) == [Promotion(LEAST_BEFORE - 1, 1)]


def test_a_candidate_that_waited_goes_on_when_the_share_has_room() -> None:
    scores = [0.9, 0.8, 0.7, *[0.1] * 9]
    found = climbed(scores)
    assert [promotion.index for promotion in found][:3] == [0, 1, 2]
    # With twelve candidates the quota is three: the second and third had to wait for the eighth and twelfth.
    early = climbed(scores[:8])
    assert [promotion.index for promotion in early] == [0]


def test_the_best_of_a_family_goes_on_if_it_is_in_the_better_half_or_the_first_to_go() -> None:
    many = [0.5 + i / 1000 for i in range(40)]
    shuffled = random.Random(2).sample(many, 40)
    same = climbed([*shuffled, 0.525], families=["crowd"] * 41)
    assert Promotion(40, 1) not in same
    crowd, others = ["crowd"] * 40, ["other"] * 2
    first, better = climbed([*shuffled, 0.505, 0.525], families=crowd + others)[-2:]
    assert (first, better) == (Promotion(40, 1), Promotion(41, 1))
    assert climbed([*shuffled, 0.505, 0.510], families=crowd + others)[-1] == Promotion(40, 1)


def test_scores_on_two_rungs_give_a_line_that_discounts_luck() -> None:
    rng = random.Random(3)
    ladder, merit = Ladder(1, 0.5), {}
    for index in range(400):
        merit[index] = rng.gauss(0.5, 0.05)
        for promotion in ladder.add(index, 0, (merit[index] + rng.gauss(0.0, 0.05),), (index % 5,)):
            ladder.add(promotion.index, promotion.rung, (0.2 + merit[promotion.index] + rng.gauss(0.0, 0.001),))
    # Half of the variance on rung 0 is noise, so the slope is about a half, and the spread that of merit given a score.
    luckiest = max(merit, key=lambda index: ladder.scores(index)[0])
    known = [index for index in merit if len(ladder.scores(index)) == 1]
    low, high = min(known, key=lambda i: ladder.scores(i)[0]), max(known, key=lambda i: ladder.scores(i)[0])
    slope = (ladder.outlook(high).score - ladder.outlook(low).score) / (ladder.scores(high)[0] - ladder.scores(low)[0])
    assert 0.3 < slope < 0.7  # standard error 0.06 with 200 pairs
    assert 0.028 < ladder.outlook(low).spread < 0.043  # 0.05 / sqrt(2) = 0.035, standard error 0.002
    assert ladder.outlook(luckiest).spread == 0.0 and ladder.outlook(luckiest).score == ladder.scores(luckiest)[1]
    assert ladder.outlook(luckiest).score < ladder.scores(luckiest)[0] + 0.2  # it did not keep what it promised


def test_few_pairs_scale_and_none_leave_scores_as_they_are() -> None:
    ladder = Ladder(2, 0.5)
    for index in range(8):
        ladder.add(index, 0, (0.1 * (index + 1),))
    assert ladder.outlook(3).score == pytest.approx(0.4) and ladder.outlook(3).spread == 0.0
    ladder.add(7, 1, (1.2,))
    assert ladder.outlook(3).score == pytest.approx(0.6)  # times 1.2 / 0.8
    assert ladder.outlook(7).score == pytest.approx(1.2)
    assert ladder.scores(7) == (pytest.approx(0.8), 1.2)


def test_a_score_that_is_not_a_number_counts_as_nothing() -> None:
    ladder = Ladder(1, 0.25)
    for index in range(12):
        ladder.add(index, 0, (0.5, 0.5))
    ladder.add(12, 0, (float("nan"), 0.2))
    assert ladder.scores(12) == (0.1,)
    assert ladder.outlook(12).cautious == pytest.approx(0.1)


@pytest.mark.parametrize("seed", range(5))
def test_promotions_are_those_of_a_plain_count(seed: int) -> None:
    """The heap, the sorted list and the leaders give what counting from scratch gives each time."""
    rng = random.Random(seed)
    scores = [round(rng.random(), 2) for _ in range(150)]  # with ties
    families = [rng.choice("abcdef") for _ in scores]
    expected: list[int] = []
    for last, score in enumerate(scores):
        seen = scores[: last + 1]
        if len(seen) < LEAST_BEFORE:
            continue
        quota = int(0.25 * len(seen))
        waiting = [i for i in range(last + 1) if i not in expected]
        best = max(waiting, key=lambda i: (scores[i], -i))
        if quota and scores[best] >= sorted(seen)[-quota]:
            expected.append(best)
        mates = [s for s, f in zip(scores[:last], families[:last], strict=True) if f == families[last]]
        better_half = sum(s < score for s in seen) >= len(seen) // 2
        first = not any(families[i] == families[last] for i in expected)
        if last not in expected and (better_half or first) and score > max(mates, default=-1.0):
            expected.append(last)
    assert [promotion.index for promotion in climbed(scores, families=families)] == expected
    assert median(scores[i] for i in expected) > median(scores)


def test_spreads_of_several_lines_add_up() -> None:
    """What is not known of two rungs is the noise of the last line, and that of the first times its slope."""
    rng = random.Random(4)
    ladder = Ladder(2, 0.5)
    for index in range(600):
        merit = rng.gauss(0.5, 0.05)
        for first in ladder.add(index, 0, (merit,)):
            low = merit + rng.gauss(0.0, 0.03)
            for second in ladder.add(first.index, 1, (low,)):
                ladder.add(second.index, 2, (ladder.scores(second.index)[1] * 2.0 + rng.gauss(0.0, 0.04),))
    short = next(index for index in range(600) if len(ladder.scores(index)) == 1)
    assert ladder.outlook(short).spread == pytest.approx((4 * 0.03**2 + 0.04**2) ** 0.5, rel=0.2)
    once = next(index for index in range(600) if len(ladder.scores(index)) == 2)
    assert ladder.outlook(once).spread == pytest.approx(0.04, rel=0.2)


def lead(scores: tuple[float, ...]) -> tuple[float, tuple[float, ...]]:
    """The mean of scores, and what each is ahead of it."""
    return fmean(scores), tuple(score - fmean(scores) for score in scores)


@pytest.mark.parametrize("seed", range(3))
def test_promotions_follow_what_families_have_promised(seed: int) -> None:
    """As counted from scratch: after each result on rung 1, all candidates on rung 0 are compared by a new forecast."""
    rng = random.Random(seed)
    ladder, scores, families = Ladder(1, 0.3), dict[int, tuple[float, float]](), dict[int, tuple[str, str]]()
    pairs, gone, differed = list[Pair](), list[int](), 0
    for index in range(80):
        families[index] = rng.choice("ab"), rng.choice("cde")
        start = rng.random() / 10 + (0.1 if families[index][0] == "a" else 0.0)
        scores[index] = start, start + rng.random() / 10
        forecast = fitted(pairs)
        expected = {i: forecast.expected(*lead(scores[i]), families[i]) for i in scores}
        ordered, waiting = sorted(expected.values()), [i for i in scores if i not in gone]
        chosen = []
        if len(scores) >= LEAST_BEFORE:
            quota = int(0.3 * len(scores))
            best = max(waiting, key=lambda i: (expected[i], -i))
            differed += best != max(waiting, key=lambda i: (fmean(scores[i]), -i))
            if expected[best] >= ordered[-quota]:
                chosen.append(best)
            leads = all(
                fmean(scores[i]) < fmean(scores[index]) for i in scores if families[i] == families[index] and i != index
            )
            better = sum(value < expected[index] for value in ordered) >= len(ordered) // 2
            first = not any(families[i] == families[index] for i in gone + chosen)
            if leads and (better or first) and index not in chosen:
                chosen.append(index)
        assert ladder.add(index, 0, scores[index], families[index]) == [Promotion(i, 1) for i in chosen]
        for i in chosen:  # what is ahead on rung 0 falls behind
            gone.append(i)
            high = scores[i][1] + (0.0 if families[i][0] == "a" else 0.3) + rng.gauss(0.0, 0.01)
            ladder.add(i, 1, (high, high + 0.1))
            pairs.append((families[i], *lead(scores[i]), fmean((high, high + 0.1))))
    assert differed > 10 and len(gone) > 15
    late = [families[i][0] for i in gone[len(gone) // 2 :]]
    assert late.count("b") > 2 * late.count("a")


def test_an_outlook_knows_the_family() -> None:
    ladder = Ladder(1, 0.5)
    for index in range(40):
        kind = "slow" if index % 2 else "fast"
        ladder.add(index, 0, (0.5,), (kind, "of all"))
        if index < 30:
            ladder.add(index, 1, (0.7 if kind == "slow" else 0.5,))
    assert ladder.outlook(31).score == pytest.approx(0.7, abs=0.02)  # what shrinking leaves of 0.1
    assert ladder.outlook(30).score == pytest.approx(0.5, abs=0.02)
    assert ladder.outlook(31).spread < 0.02


def test_leads_on_lower_rungs_count_on_higher_ones() -> None:
    """Of candidates that are alike on a rung of one network, those that were behind on another fall there later."""
    rng, ladder = random.Random(6), Ladder(2, 0.9)
    for index in range(60):
        other = rng.uniform(0.0, 0.2)
        for first in ladder.add(index, 0, (0.3, 0.2 + other)):
            for second in ladder.add(first.index, 1, (0.5 + rng.gauss(0.0, 0.001),)):
                lag = ladder.scores(second.index)[0]
                ladder.add(second.index, 2, (0.6, 2 * lag))
    ladder.add(60, 0, (0.3, 0.21))
    ladder.add(61, 0, (0.3, 0.39))
    for index in (60, 61):
        ladder.add(index, 1, (0.5,))
    assert ladder.outlook(61).score > ladder.outlook(60).score + 0.04  # 0.09 without shrinkage


def test_a_candidate_that_diverges_on_a_rung_goes_no_further_and_promises_nothing() -> None:
    ladder = Ladder(2, 0.5)
    goes_on = [p for i in range(8) for p in ladder.add(i, 0, (0.3 + i / 100, 0.3))]
    goes_on += [p for i in range(8, 24) for p in ladder.add(i, 0, (0.3 + i / 100, 0.3))]
    further = []
    for number, promotion in enumerate(goes_on):
        # Every other one diverges on one network, and is far ahead on the other.
        scores = (0.9, 0.0) if number % 2 else (0.4 + number / 1000, 0.4)
        further += ladder.add(promotion.index, promotion.rung, scores)
    diverged = {promotion.index for number, promotion in enumerate(goes_on) if number % 2}
    assert len(diverged) > 4 and further and not diverged & {promotion.index for promotion in further}
    assert all(ladder.outlook(index).cautious == 0.0 for index in diverged)
    assert all(ladder.outlook(index).cautious > 0.0 for index in set(ladder.indices) - diverged)


def test_one_kind_has_no_more_than_its_part_of_the_places() -> None:
    """Forty good candidates are of one kind, and forty of two others are all behind them."""

    def gone(of_one_kind: float) -> Counter[str]:
        rng, ladder, kinds, found = random.Random(7), Ladder(1, 0.25, of_one_kind), dict[int, str](), Counter[str]()
        crowd = [("crowd", 0.5 + i / 1000) for i in range(40)]
        others = [(("one", "other")[i % 2], 0.4 + i / 1000) for i in range(40)]
        for index, (kind, score) in enumerate(rng.sample(crowd + others, 80)):
            kinds[index] = kind
            found.update(kinds[one.index] for one in ladder.add(index, 0, (score,), (kind,)))
        return found

    alone, shared = gone(1.0), gone(1 / 3)
    assert alone["one"] + alone["other"] <= 4  # the first of each kind, and those that came while little was there
    # A quarter of eighty are twenty, of which a third is seven; early ones, who met fewer, come on top.
    assert shared["crowd"] <= 13 < alone["crowd"]
    assert min(shared["one"], shared["other"]) >= 5


def test_the_best_of_each_kind_go_on() -> None:
    ladder = Ladder(1, 0.5, 0.5)
    for index in range(7):
        assert ladder.add(index, 0, (0.5 + index / 100,), ("crowd",)) == []
    found = [one.index for index in (7, 8, 9) for one in ladder.add(index, 0, (0.1 + index / 100,), ("few",))]
    # Each time the best goes on for which its kind has room, two of four or five: of the crowd 6 and 5, and then 9, the
    # best of the few, of whom 7 went on as the first of its family.
    assert found == [6, 7, 5, 9]
    assert [one.index for one in ladder.add(10, 0, (0.9,), ("crowd",))] == [10]
