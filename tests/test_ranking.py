"""The statistics of a reranking: means, intervals, comparisons, and failed trainings."""

from __future__ import annotations

import json
from math import isnan, nan

import pytest

from evonas.records.retraining import RERUNS, Retraining, RetrainingStage
from evonas.reruns.ranking import Ranked, Ranking, by_mean, sample
from evonas.reruns.significance import interval

ANCHORS = ("wide", "deep")


def trained(scores: dict[str, dict[int, float]], stage: RetrainingStage = RetrainingStage.HELD_OUT) -> list[Retraining]:
    return [
        Retraining(7, stage, anchor, seed, 10, 0.2, score, 1.0, "the worker died" if isnan(score) else "")
        for anchor, of_anchor in scores.items()
        for seed, score in of_anchor.items()
    ]


FIRST = {RetrainingStage.HELD_OUT: 10, RetrainingStage.TEST: 20, RetrainingStage.TRANSFER: 20}
"""The first seed of each stage."""


def ranked(name: str, *means: float, apart: float = 0.0) -> Ranked:
    """A layer with one score a seed on both anchors, NaN for a failure; better by `apart` at each further stage.

    The seeds are those of the stage.
    """
    found = {}
    for place, stage in enumerate(RERUNS):
        by_seed = {FIRST[stage] + seed: mean + place * apart for seed, mean in enumerate(means)}
        found[stage] = sample(trained(dict.fromkeys(ANCHORS, by_seed), stage), ANCHORS)
    return Ranked(name, name, None, 0.5, found)


def ranking(
    layers: list[Ranked], references: list[Ranked], reported: int = 1, unseen: str | None = "tall", tested: int = 3
) -> Ranking:
    seeds, test_seeds = range(10, 13), range(20, 20 + tested)
    return Ranking(1, ANCHORS, unseen, 0.2, 30, seeds, 60, test_seeds, layers, reported, references)


def test_a_sample_is_of_the_seeds_that_worked_on_every_anchor() -> None:
    rows = trained({"deep": {2: 0.4, 1: 0.2, 3: 0.9}, "wide": {1: 0.4, 2: 0.8, 3: nan}})
    found = sample(rows, ANCHORS)
    assert list(found.scores) == list(ANCHORS)
    assert list(found.scores["deep"]) == [1, 2, 3]  # in order of seeds, whatever ended first
    assert found.by_seed == pytest.approx({1: 0.3, 2: 0.6})
    assert found.mean == pytest.approx(0.45)
    assert found.interval == interval(list(found.by_seed.values()))
    assert found.failures == ["wide, seed 3: the worker died"]


def test_a_training_that_diverged_counts_and_is_reported() -> None:
    found = sample([Retraining(7, RetrainingStage.TEST, "wide", 1, 10, 0.0, 0.0, 1.0, "diverged on wide")], ["wide"])
    assert found.by_seed == {1: 0.0} and found.mean == 0.0
    assert found.failures == ["wide, seed 1: diverged on wide"]


def test_where_all_failed_there_is_no_mean_and_the_place_is_the_last() -> None:
    none, low, high, same = ranked("none", nan, nan), ranked("low", 0.1, 0.2), ranked("high", 0.8), ranked("same", 0.8)
    assert isnan(none.samples[RetrainingStage.TEST].mean) and none.samples[RetrainingStage.TEST].interval is None
    assert [one.id for one in by_mean([none, low, high, same])] == ["high", "same", "low", "none"]


def test_comparisons_pair_equal_seeds_and_are_corrected_together() -> None:
    layers = [ranked("a", 0.6, 0.7, 0.9), ranked("b", 0.5, 0.5, 0.6), ranked("c", 0.1, 0.1, 0.1)]
    references = [ranked("r", 0.5, 0.6, 0.7), ranked("s", 0.6, nan, 0.7)]
    found = ranking(layers, references, reported=2).comparisons(RetrainingStage.TEST)
    assert [(one.layer, one.reference) for one in found] == [("a", "r"), ("a", "s"), ("b", "r"), ("b", "s")]
    assert all(one.stage is RetrainingStage.TEST and one.paired is not None for one in found)
    differences = [one.paired.difference for one in found if one.paired]
    assert differences == pytest.approx([0.4 / 3, 0.1, -0.2 / 3, -0.1])
    assert [one.dropped for one in found] == [0, 1, 0, 1]
    # Differences 0.1, 0.1, 0.2: t = 0.4/3 / (0.1/3) = 4 of two degrees of freedom. "b" less "s" has no spread.
    plain = [one.paired.p if one.paired else None for one in found]
    assert plain[0] == pytest.approx(0.0572, abs=1e-4) and plain[3] is None
    assert found[0].corrected == pytest.approx(3 * 0.05719, abs=1e-4) and found[3].corrected is None


def test_each_stage_is_compared_over_its_own_seeds() -> None:
    """Three seeds held out and four on test, none in common; what counts as dropped is counted among them."""
    layer, reference = ranked("a", 0.6, 0.7, 0.9, 0.8, apart=0.02), ranked("r", 0.5, nan, 0.5, 0.5)
    found = ranking([layer], [reference], tested=4)
    expected = {
        # At the held-out stage, the fourth seed was not requested.
        RetrainingStage.HELD_OUT: (0.25, 2, 1),
        RetrainingStage.TEST: ((0.12 + 0.42 + 0.32) / 3, 3, 1),
        RetrainingStage.TRANSFER: ((0.14 + 0.44 + 0.34) / 3, 3, 1),
    }
    for stage, (difference, pairs, dropped) in expected.items():
        (one,) = found.comparisons(stage)
        assert one.stage is stage and one.paired is not None
        assert (one.paired.difference, one.paired.pairs, one.dropped) == (pytest.approx(difference), pairs, dropped)
    document = found.as_dict()
    assert (document["seeds"], document["test_seeds"]) == ([10, 11, 12], [20, 21, 22, 23])
    assert (document["steps"], document["test_steps"]) == (30, 60)
    assert [c["difference"] for c in document["comparisons"]] == pytest.approx([e[0] for e in expected.values()])
    assert str(found).splitlines()[0] == "run 1, 3 seeds of 30 steps, accuracy held out and on test"
    assert str(found).splitlines()[1].split() == ["0.750", "0.770", "0.790", "a", "a"]


def test_layers_are_ranked_by_the_held_out_part_alone() -> None:
    """Were they ranked by the test split, the best would be those that were lucky on it."""
    lucky, good = ranked("lucky", 0.5, apart=0.3), ranked("good", 0.6)
    assert lucky.samples[RetrainingStage.TEST].mean > good.samples[RetrainingStage.TEST].mean
    assert [one.id for one in by_mean([lucky, good])] == ["good", "lucky"]


def test_seeds_that_never_worked_together_leave_no_comparison() -> None:
    (one,) = ranking([ranked("a", 0.5, nan)], [ranked("r", nan, 0.5)]).comparisons(RetrainingStage.HELD_OUT)
    assert one.paired is None and one.corrected is None and one.dropped == 3
    assert one.as_dict()["difference"] is None


def test_the_document_is_json_and_holds_every_score() -> None:
    layers = [ranked("a", 0.5, 0.75, 0.5), ranked("b", 0.5, 0.5, 0.5)]
    found = ranking(layers, [ranked("r", 0.5, 0.5, 0.25)], unseen=None)
    document = json.loads(json.dumps(found.as_dict()))
    assert document["layers"][0]["held-out"]["scores"]["deep"] == {"10": 0.5, "11": 0.75, "12": 0.5}
    assert document["reported"] == ["a"] and [one["id"] for one in document["layers"]] == ["a", "b"]
    assert [c["stage"] for c in document["comparisons"]] == ["held-out", "test"]  # no unseen anchor was requested
    low, high = document["comparisons"][0]["interval"]
    assert low < document["comparisons"][0]["difference"] < high
