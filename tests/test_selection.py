"""Selection: the Pareto front compared with its definition, tournaments, winners, and the sliding window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import UsageError
from evonas.judging.rungs import Ladder
from evonas.judging.selection import (
    Families,
    Individual,
    Nsga2,
    Population,
    Tournament,
    Window,
    pareto_front,
    selection_of,
)
from evonas.language.graph import Graph
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Candidate, Evaluation, Origin, OriginKind, Status
from evonas.settings.run_config import RunConfig
from evonas.settings.search_space import generator

# Few different values, so that ties and equal rows are common.
score_tables = st.integers(1, 4).flatmap(
    lambda objectives: st.lists(
        st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]), min_size=objectives, max_size=objectives),
        min_size=1,
        max_size=25,
    )
)


def member(index: int, *scores: float) -> Individual:
    candidate = Candidate(index, Graph.parse("x"), f"k{index}", f"f{index}", Origin(OriginKind.RANDOM))
    named = {f"anchor-{place}": score for place, score in enumerate(scores)}
    return Individual(candidate, Evaluation(index, Status.SCORED, named))


def winners(members: list[Individual], share: float, strategy: str, seeds: int = 60) -> Counter[int]:
    won = (tournament_winner(members, share, strategy, generator(seed)) for seed in range(seeds))
    return Counter(winner.candidate.index for winner in won)


def tournament_winner(
    members: Sequence[Individual], share: float, strategy: str, rng: np.random.Generator, smallest: int = 2
) -> Individual:
    return Tournament(share, smallest, ("anchors",), average=strategy == "average")(members, rng)


def dominates(one: list[float], other: list[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other


@given(score_tables)
def test_the_front_is_what_nothing_dominates(rows: list[list[float]]) -> None:
    expected = [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]
    assert pareto_front(np.array(rows)).tolist() == expected


@given(score_tables, st.integers(0, 999))
def test_a_tournament_of_all_is_won_from_the_front(rows: list[list[float]], seed: int) -> None:
    members = [member(i, *row) for i, row in enumerate(rows)]
    winner = tournament_winner(members, 1.0, "pareto", generator(seed))
    mine = list(winner.evaluation.scores.values())
    assert not any(dominates(row, mine) for row in rows)
    best = tournament_winner(members, 1.0, "average", generator(seed))
    assert np.mean(list(best.evaluation.scores.values())) == max(np.mean(row) for row in rows)


def test_every_member_of_the_front_wins_sometimes_and_nobody_else() -> None:
    members = [member(0, 0.9, 0.1), member(1, 0.5, 0.5), member(2, 0.1, 0.9), member(3, 0.4, 0.4), member(4, 0, 0)]
    counts = winners(members, 1.0, "pareto", seeds=300)
    assert set(counts) == {0, 1, 2}
    # Binomial(300, 1/3): mean 100, standard deviation 8; five of them.
    assert all(abs(count - 100) < 41 for count in counts.values())


def test_the_average_winner_has_the_best_mean_and_ties_are_drawn() -> None:
    members = [member(0, 0.9, 0.0), member(1, 0.5, 0.5), member(2, 0.6, 0.4), member(3, 0.1, 0.8)]
    counts = winners(members, 1.0, "average")
    assert set(counts) == {1, 2}
    assert min(counts.values()) > 10  # Binomial(60, 1/2): mean 30, standard deviation 4; five of them


@pytest.mark.parametrize(
    ("count", "share", "size"),
    [(100, 0.05, 5), (100, 0.0, 2), (10, 0.05, 2), (3, 0.9, 3), (2, 0.0, 2), (1, 0.05, 1), (1, 1.0, 1), (50, 1.0, 50)],
)
def test_size_of_a_tournament(count: int, share: float, size: int) -> None:
    """A share of the members, but at least two if there are two.

    With scores that rise with the index, the winner of `size` of `count` is never among the `size` − 1
    lowest, and is the one just above them when chance draws the lowest `size`.
    """
    seen: list[int] = []

    class Spy(np.random.Generator):
        def choice(self, *args: object, **kwargs: object) -> object:
            if "size" in kwargs:
                seen.append(int(kwargs["size"]))  # type: ignore[call-overload]
                assert kwargs["replace"] is False
            return super().choice(*args, **kwargs)  # type: ignore[call-overload]

    members = [member(i, i / count) for i in range(count)]
    winner = tournament_winner(members, share, "pareto", Spy(np.random.PCG64(1)))
    assert seen == [size]
    assert winner.candidate.index >= size - 1


def test_the_best_always_wins_against_all_and_seldom_in_small_tournaments() -> None:
    members = [member(i, i / 100) for i in range(100)]
    assert winners(members, 1.0, "average") == {99: 60}
    # In a tournament of 5 of 100 the best takes part with probability 0.05: pressure stays low.
    counts = winners(members, 0.05, "average", seeds=200)
    assert 1 <= counts[99] <= 26  # Binomial(200, 0.05): mean 10, standard deviation 3.1; five of them
    assert len(counts) > 20


def test_the_same_generator_draws_the_same_winner() -> None:
    members = [member(i, (i * 7 % 31) / 31, (i * 11 % 31) / 31) for i in range(31)]
    for strategy in ("pareto", "average"):
        one = [tournament_winner(members, 0.2, strategy, generator(5, i)).candidate.index for i in range(40)]
        two = [tournament_winner(members, 0.2, strategy, generator(5, i)).candidate.index for i in range(40)]
        assert one == two
        assert len(set(one)) > 3  # the seed matters


def test_a_strategy_without_parents_has_no_selection() -> None:
    with pytest.raises(UsageError, match="unknown selection 'random'; known: average, families, nsga2, pareto"):
        selection_of(RunConfig(evonorm, strategy="random"), Ladder(0, 0.25))


def test_a_smallest_tournament_raises_the_pressure_on_a_small_window() -> None:
    members = [member(i, i / 30) for i in range(30)]
    wide = Counter(
        tournament_winner(members, 0.05, "average", generator(seed), smallest=10).candidate.index for seed in range(200)
    )
    # The winner of 10 of 30 is never among the nine lowest; that of 2 of 30 is in one case of thirteen.
    assert min(wide) >= 9
    assert min(winners(members, 0.05, "average", seeds=200)) < 9


def nsga2_ranks(rows: list[list[float]]) -> list[int]:
    """Removes front after front, directly from the definition."""
    ranks, left, rank = [0] * len(rows), set(range(len(rows))), 0
    while left:
        front = {i for i in left if not any(dominates(rows[j], rows[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
        rank += 1
    return ranks


@given(score_tables, st.integers(2, 12))
def test_survivors_are_the_lowest_ranks(rows: list[list[float]], survivors: int) -> None:
    members = [member(i, *row) for i, row in enumerate(rows)]
    kept = Nsga2(survivors, ("anchors",))._survive(members)
    ranks = nsga2_ranks(rows)
    assert len(kept) == min(survivors, len(rows))
    assert [rank for rank, _, _ in kept] == [ranks[m.candidate.index] for _, _, m in kept]
    dropped = set(range(len(rows))) - {m.candidate.index for _, _, m in kept}
    assert all(ranks[i] >= max(rank for rank, _, _ in kept) for i in dropped)


def test_nsga2_prefers_low_ranks_and_then_empty_places() -> None:
    # 0, 1 and 2 are the front, with 1 in the middle; 3 and 4 are dominated.
    members = [member(0, 0.9, 0.1), member(1, 0.5, 0.5), member(2, 0.1, 0.9), member(3, 0.4, 0.4), member(4, 0.0, 0.0)]
    select = Nsga2(4, ("anchors",))
    won = Counter(select(members, generator(seed)).candidate.index for seed in range(400))
    assert 4 not in won  # it does not survive
    # Of 16 equally likely pairs of the four, 3 wins one, 1 three (against itself and 3), 0 and 2 six each
    # (a tie between their infinite distances goes to the first).
    assert won[3] < won[1] < min(won[0], won[2])


def test_nsga2_follows_the_window() -> None:
    select = Nsga2(2, ("anchors",))
    weak = [member(0, 0.1, 0.1), member(1, 0.2, 0.1)]
    strong = [*weak, member(2, 0.9, 0.8), member(3, 0.8, 0.9)]
    assert {select(weak, generator(seed)).candidate.index for seed in range(40)} == {0, 1}
    assert {select(strong, generator(seed)).candidate.index for seed in range(40)} == {2, 3}


def test_the_window_slides() -> None:
    population = Population(3)
    assert len(population) == 0 and not population
    scores = [0.9, 0.1, 0.3, 0.5, 0.2, 0.4, 0.45]
    for index, score in enumerate(scores):
        one = member(index, score)
        population.add(one.candidate, one.evaluation)
        members = population.members
        # The best is forgotten with the rest: age, not merit, decides who leaves.
        within = range(max(0, index - 2), index + 1)
        assert len(population) == len(within)
        assert [m.candidate.index for m in members] == [m.evaluation.index for m in members] == list(within)
        assert members.rows(("anchors",)).tolist() == [[scores[i]] for i in within]
        assert members.rows(("anchors",), np.array([len(within) - 1, 0])).tolist() == [[score], [scores[within[0]]]]
        best = max(within, key=lambda i: scores[i])
        for strategy in ("pareto", "average"):
            assert tournament_winner(members, 1.0, strategy, generator(index)).candidate.index == best


def test_a_window_is_a_sequence() -> None:
    """The window behaves like a list of its newest members."""
    window = Window(4)
    for index in range(7):
        window.append(member(index, index / 7))
    found, expected = [m.candidate.index for m in window], [3, 4, 5, 6]
    assert found == expected
    for place in range(-4, 4):
        assert window[place].candidate.index == expected[place]
    for part in (slice(1, 3), slice(None, None, -1), slice(-2, None), slice(0, 9, 2)):
        assert [m.candidate.index for m in window[part]] == expected[part]
    for place in (4, -5):
        with pytest.raises(IndexError):
            window[place]


def test_nsga2_follows_a_window_that_is_full() -> None:
    """At each step another member is the best by far, and the previous best has left."""
    select, window = Nsga2(2, ("anchors",)), Window(3)
    for index in range(9):
        # Every third is strong, and stronger than those before.
        score = 0.5 + index / 20 if index % 3 == 0 else 0.1 + index / 100
        window.append(member(index, score, score))
        within = range(max(0, index - 2), index + 1)
        ranked = sorted(within, key=lambda i: -window[i - within[0]].evaluation.mean)[:2]
        for _ in range(2):  # the second time from the cached order
            assert {select(window, generator(seed)).candidate.index for seed in range(20)} == set(ranked)


def laddered(scores: Sequence[float], families: Sequence[str]) -> tuple[Ladder, list[Individual]]:
    ladder = Ladder(1, 0.25)
    for index, score in enumerate(scores):
        ladder.add(index, 0, (score,), families[index])
    return ladder, [member(index, score) for index, score in enumerate(scores)]


def test_a_parent_is_from_one_of_the_best_families() -> None:
    """Forty good layers of one family do not crowd out the best of three others; the fifth family is not chosen."""
    scores = [*(0.7 + i / 1000 for i in range(40)), 0.6, 0.59, 0.58, 0.3]
    ladder, members = laddered(scores, [*"a" * 40, "b", "c", "d", "e"])
    select = Families(ladder, 4)
    won = Counter(select(members, generator(seed)).candidate.index for seed in range(400))
    of_family = Counter("abcde"[max(0, index - 39)] for index in won.elements())
    # The better of two of four: 7, 5, 3 and 1 of 16. Binomial(400, 1/16): mean 25, standard deviation 4.8.
    assert of_family["a"] > of_family["b"] > of_family["c"] > of_family["d"] > 5
    assert of_family["e"] == 0
    of_crowd = [index for index in won.elements() if index < 40]
    assert len(set(of_crowd)) > 8 and np.mean(of_crowd) > 30  # the best of eight of forty: mean rank 36
    # Of equal length of training, a layer that is known better is preferred to one that promises as much.
    for index in range(8):
        ladder.add(index, 1, (scores[index] + (0.05 if index % 2 else -0.05),))
    known, promised = ladder.outlook(7), ladder.outlook(39)
    assert promised.spread > known.spread == 0.0
    assert promised.cautious == pytest.approx(promised.score - promised.spread)
    assert select(members, generator(0)) is not None


def test_what_a_longer_training_showed_changes_who_is_a_parent() -> None:
    ladder, members = laddered([0.5, 0.6], ["a", "b"])
    select = Families(ladder, 1)
    assert {select(members, generator(seed)).candidate.index for seed in range(10)} == {1}
    ladder.add(1, 1, (0.1,))
    ladder.add(0, 1, (0.9,))
    assert {select(members, generator(seed)).candidate.index for seed in range(10)} == {0}


def test_families_of_one_root_are_limited() -> None:
    """Four of the five best families descend from candidate 0, two of them by way of its offspring."""
    ladder, members = Ladder(0, 0.25), []
    for index, (score, parent) in enumerate(((0.9, None), (0.8, 0), (0.7, 1), (0.6, 2), (0.5, None), (0.4, 4))):
        ladder.add(index, 0, (score,), ("abcdef"[index],), parent)
        members.append(member(index, score))
    assert [ladder.root(index) for index in range(6)] == [0, 0, 0, 0, 4, 4]
    chosen = {
        share: {Families(ladder, 4, share)(members, generator(seed)).candidate.index for seed in range(60)}
        for share in (1.0, 0.5, 0.25)
    }
    assert chosen == {1.0: {0, 1, 2, 3}, 0.5: {0, 1, 4, 5}, 0.25: {0, 4}}


def test_families_with_the_same_statistics_are_limited() -> None:
    """Three of the four best families are of one kind, whatever their roots."""
    ladder, members = Ladder(0, 0.25), []
    kinds = [("batch", "a"), ("batch", "b"), ("batch", "c"), ("group", "a"), ("none", "a")]
    for index, family in enumerate(kinds):
        ladder.add(index, 0, (0.9 - index / 10,), family)
        members.append(member(index, 0.9 - index / 10))
    chosen = {
        share: {Families(ladder, 4, 1.0, share)(members, generator(seed)).candidate.index for seed in range(60)}
        for share in (1.0, 0.5, 0.25)
    }
    assert chosen == {1.0: {0, 1, 2, 3}, 0.5: {0, 1, 3, 4}, 0.25: {0, 3, 4}}
