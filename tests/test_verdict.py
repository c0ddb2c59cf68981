"""The verdict on a run from hand-made trainings: better, worse, not told apart, collapsed, failed, missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import nan

import pytest

from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import Layer, Retraining, RetrainingStage
from evonas.reruns.collapse import CHANCE, chance_of, collapsed
from evonas.reruns.ranking import Sample
from evonas.reruns.verdict import Verdict, verdict_of
from evonas.reruns.verdict_words import standing
from evonas.settings.run_config import REFERENCES
from tests.store_samples import CONFIG, candidate, scored

ANCHORS = CONFIG.protocol.anchors
UNSEEN = "vgg-small"
SEEDS = {RetrainingStage.HELD_OUT: range(1000, 1005)}
"""The held-out stage has the first seeds, the later stages those that follow."""
RUN = replace(CONFIG, finalists=3)
STEPS = 2 * CONFIG.protocol.steps
NOISE = (0.0, 0.004, -0.003, 0.002, -0.003)
"""What is added to the mean of a layer with each seed; differences of two layers of different sign tell them apart."""

Wrong = Mapping[tuple[Layer, RetrainingStage, str, int], float]
NOTHING: Wrong = {}
LEVEL = dict.fromkeys(REFERENCES, 0.7)

NONE = "No layer of this run is better than bn-relu, as far as was verified: the best, 1/1,"


def trainings(
    layer: Layer, stage: RetrainingStage, mean: float, wrong: Wrong, sign: int = 1, seeds: int = 5
) -> list[Retraining]:
    """A layer's trainings at a stage, of which some have another score: NaN for failed, 0 for diverged."""
    anchors = (UNSEEN,) if stage is RetrainingStage.TRANSFER else ANCHORS
    found = []
    for anchor, place in product(anchors, range(seeds)):
        seed = SEEDS.get(stage, range(1005, 1010))[place]
        score = wrong.get((layer, stage, anchor, place), mean + sign * NOISE[place])
        share = 0.2 if stage is RetrainingStage.HELD_OUT else 0.0
        reason = "the worker died" if score != score else f"diverged on {anchor}" if score == 0.0 else ""
        found.append(Retraining(layer, stage, anchor, seed, STEPS, share, score, 1.0, reason))
    return found


def store_with(
    wrong: Wrong = NOTHING,
    *,
    winner: float = 0.8,
    unseen: float | None = 0.8,
    references: Mapping[str, float] = LEVEL,
    held_out: tuple[float, ...] = (0.6, 0.8, 0.7),
    finalists: int = 3,
    seeds: int = 5,
) -> MemoryStore:
    """A run whose candidates 0, 1 and 2 were trained on held-out images, and candidate 1 on the test split."""
    store = MemoryStore()
    store.create_run(replace(RUN, finalists=finalists), {})
    evaluations = [scored(i, 0.9 - 0.1 * i) for i in range(3)]
    store.record(1, candidates=[candidate(i) for i in range(3)], evaluations=evaluations)
    rows = []
    for index, mean in enumerate(held_out):
        rows += trainings(index, RetrainingStage.HELD_OUT, mean, wrong)
    later = {RetrainingStage.TEST: winner} | ({} if unseen is None else {RetrainingStage.TRANSFER: unseen})
    for stage, mean in later.items():
        rows += trainings(1, stage, mean, wrong, seeds=seeds)
        for name, level in references.items():
            rows += trainings(name, stage, level, wrong, sign=-1, seeds=seeds)
    for one in rows:
        store.record_retraining(1, one)
    return store


def verdict(store: MemoryStore) -> Verdict:
    found = verdict_of(store, 1)
    assert found is not None
    return found


def test_a_layer_that_is_better_than_all_is_said_to_be_and_by_how_much() -> None:
    found = verdict(store_with())
    assert found.layer is not None and found.layer.id == "1/1"
    assert found.better and found.better_than_all and found.better_than == list(REFERENCES)
    # Differences by seed are 0.1 + 2·NOISE: s is 0.62 points, and half the width 2.776 · s / √5.
    assert str(found).startswith(
        "1/1 is better than bn-relu by 10.0 ± 0.8 points on images that chose nothing (p < 0.001)"
    )
    assert "and better on the unseen network vgg-small (+10.0 ± 0.8)" in str(found)
    assert "It is better than all 6 published layers beside it: bn-swish (+10.0 ± 0.8), " in str(found)
    assert found.brief == "1/1 better than all 6 published layers" and found.word == "better"
    assert [one.layer.id for one in found.finalists] == ["1/1", "1/2", "1/0"]  # by held-out images, not by the search


def test_what_is_better_worse_and_not_told_apart_is_named_as_such() -> None:
    levels = {
        "bn-relu": 0.75,
        "bn-swish": 0.8,
        "gn-relu": 0.4,
        "evonorm-b0": 0.85,
        "evonorm-b1": 0.8,
        "evonorm-s0": 0.6,
    }
    found = verdict(store_with(references=levels))
    assert found.better and not found.better_than_all
    assert found.better_than == ["bn-relu", "gn-relu", "evonorm-s0"] and found.worse_than == ["evonorm-b0"]
    assert found.not_told_apart == ["bn-swish", "evonorm-b1"]
    said = str(found)
    assert (
        "It is better than gn-relu (+40.0 ± 0.8), evonorm-s0 (+20.0 ± 0.8); worse than evonorm-b0 (-5.0 ± 0.8); "
        in said
    )
    assert "not told apart from bn-swish (+0.0 ± 0.8), evonorm-b1 (+0.0 ± 0.8)." in said


def test_worse_than_bn_relu() -> None:
    found = verdict(store_with(winner=0.6))
    assert not found.better and found.sound and "bn-relu" in found.worse_than and found.word == "not better"
    assert str(found).startswith(
        "No layer of this run is better than bn-relu, as far as was verified: the best, 1/1, is worse by 10.0 "
    )
    assert "unseen network vgg-small (+10.0" in str(found)


@pytest.mark.parametrize(("winner", "p"), [(0.7, "p = 1"), (0.7008, "p = ")])
def test_a_difference_that_may_be_chance_is_not_called_better(winner: float, p: str) -> None:
    found = verdict(store_with(winner=winner, unseen=0.7))
    assert not found.better and not found.better_than
    assert str(found).startswith(f"{NONE} is not told apart from it (+0.")
    assert p in str(found) and "and not told apart on the unseen network vgg-small (+0.0 ± 0.8)" in str(found)
    assert found.brief.startswith("1/1 not told apart from bn-relu (+0.")


def test_p_values_are_corrected_for_the_six_comparisons() -> None:
    """A difference of 0.009 with a spread of 0.0062 has p = 0.03, which is more than one in twenty of six."""
    found = verdict(store_with(winner=0.709))
    (baseline,) = [one for one in found.test if one.reference == "bn-relu"]
    assert baseline.paired is not None and baseline.paired.p == pytest.approx(0.0309, abs=1e-3)
    assert baseline.corrected == pytest.approx(6 * baseline.paired.p) and found.not_told_apart == list(REFERENCES)


@pytest.mark.parametrize(
    ("score", "phrase"),
    [(0.3, "0.300 on mobilenet-small with seed 1007"), (0.0, "diverged on mobilenet-small with seed")],
)
def test_a_layer_that_collapses_with_one_seed_is_no_winner(score: float, phrase: str) -> None:
    """Its mean is still far better than that of every published layer."""
    wrong: Wrong = {(1, RetrainingStage.TEST, "mobilenet-small", 2): score}
    found = verdict(store_with(wrong, winner=0.9, references=dict.fromkeys(REFERENCES, 0.2)))
    assert not found.better and not found.better_than_all and found.word == "collapsed"
    assert phrase in str(found) and "so the next finalist was not tested" in str(found)
    assert found.brief == "1/1 collapsed" and found.layer is not None and found.layer.id == "1/1"


def test_half_of_the_way_from_chance_is_the_bar() -> None:
    """The median is 0.797 and chance 0.1, so that 0.4485 is half of the way."""
    for score, falls in ((0.448, True), (0.449, False)):
        found = verdict(store_with({(1, RetrainingStage.TEST, "resnet-small", 3): score}))
        assert bool(found.collapsed) is falls


def test_a_layer_that_fails_with_every_seed_on_the_unseen_network_collapsed() -> None:
    found = verdict(store_with(unseen=0.12))
    assert found.better_than == list(REFERENCES) and not found.better
    assert (
        len(found.collapsed) == 5 and "0.120 on vgg-small with seed 1005" in str(found) and "and 2 more" in str(found)
    )
    assert not verdict(store_with(unseen=0.5)).collapsed  # worse than BN-ReLU's 0.7, and beyond half of the way


def test_the_best_that_never_collapsed_is_the_one_in_question() -> None:
    """Candidate 0 has the best mean on held-out images in spite of one collapsed training."""
    store = store_with({(0, RetrainingStage.HELD_OUT, "resnet-small", 4): 0.1}, held_out=(0.95, 0.8, 0.7))
    for one in trainings(0, RetrainingStage.TEST, 0.95, {}):  # as a reranking of three layers would
        store.record_retraining(1, one)
    found = verdict(store)
    assert [one.layer.id for one in found.finalists] == ["1/0", "1/1", "1/2"]
    assert [bool(one.collapsed) for one in found.finalists] == [True, False, False]
    assert found.layer is not None and found.layer.id == "1/1" and found.better
    assert standing(found, "1/0").startswith(
        "no: it was trained again, and collapsed (0.100 on resnet-small with seed 1004)"
    )
    assert standing(found, "1/2") == "no: it was trained again, 5 seeds, and another was better (0.700 held out)"
    assert standing(found, "1/1") == str(found)
    assert (
        standing(None, "1/1")
        == standing(found, "1/7")
        == ("no: it is not among the layers that were, and the best of the many scores of a search are also lucky")
    )


def test_failed_trainings_are_left_out_and_said() -> None:
    wrong = {(1, RetrainingStage.TEST, "resnet-small", 0): nan, ("gn-relu", RetrainingStage.TRANSFER, UNSEEN, 1): nan}
    found = verdict(store_with(wrong))
    assert found.better and {one.dropped for one in found.test} == {1} and not found.missing
    assert str(found).endswith(" 2 trainings failed and are left out.")


def test_a_reference_whose_trainings_all_failed_is_not_compared() -> None:
    wrong = {("bn-relu", RetrainingStage.TEST, a, seed): nan for a in ANCHORS for seed in range(5)}
    found = verdict(store_with(wrong))
    assert not found.better and not found.better_than_all
    assert str(found).startswith("No layer of this run is verified: the best, 1/1, was not compared with bn-relu")
    assert found.brief == "1/1 not compared with bn-relu"
    other = verdict(store_with({("gn-relu", *key[1:]): nan for key in wrong}))
    assert other.better and not other.better_than_all and "; not compared with gn-relu." in str(other)


def test_without_all_trainings_nothing_is_verified() -> None:
    few = dict.fromkeys(REFERENCES[:5], 0.7)
    found = verdict(store_with(references=few))
    assert found.missing == 5 * 3 and not found.better and not found.sound and found.word == "unfinished"
    assert "15 trainings on the test split are missing; `evonas resume 1` continues" in str(found)
    assert verdict(store_with(seeds=2)).missing == 7 * 3 * 3
    # A run of an earlier version was only reranked, with the references that were asked for.
    reranked = verdict(store_with(references=few, finalists=0))
    assert not reranked.missing and reranked.better_than_all and len(reranked.references) == 5
    assert verdict(store_with(finalists=0, seeds=3)).better


def test_a_reranking_after_a_verification_does_not_change_the_verdict() -> None:
    """It trains other layers, with any number of seeds and on another network; one of them is better than the rest."""
    plain, store = verdict(store_with(finalists=2)), store_with(finalists=2)
    store.record(1, candidates=[candidate(3)], evaluations=[scored(3, 0.5)])
    for seeds in (1, 5):
        for layer in (2, 3):
            for one in trainings(layer, RetrainingStage.HELD_OUT, 0.95, {}, seeds=seeds):
                store.record_retraining(1, one)
        for one in trainings(3, RetrainingStage.TEST, 0.95, {}, seeds=2) + trainings(
            "dyt", RetrainingStage.TEST, 0.9, {}
        ):
            store.record_retraining(1, one)
        for name in ("rmsnorm", *REFERENCES, 1, 3):
            for one in trainings(name, RetrainingStage.TRANSFER, 0.9, {}):
                store.record_retraining(1, replace(one, anchor="densenet-small"))
        found = verdict(store)
        assert found.layer is not None and found.layer.id == "1/1" and found.unseen == UNSEEN
        assert [one.layer.id for one in found.finalists] == ["1/1", "1/0"] and not found.missing and found.better
        assert list(found.test) == list(plain.test)


def test_without_a_verification_the_verdict_is_that_of_a_reranking_and_names_the_command_that_continues() -> None:
    found = verdict(store_with(finalists=0, references=dict.fromkeys(("bn-relu", "dyt"), 0.7)))
    assert found.better_than == ["bn-relu", "dyt"]
    store = store_with(finalists=0, held_out=(0.6, 0.8, 0.95))
    for one in trainings(2, RetrainingStage.TEST, 0.95, {}, seeds=1):
        store.record_retraining(1, one)
    assert "13 trainings on the test split are missing; `evonas rerank 1` continues." in str(verdict(store))


def test_layers_that_could_not_be_trained_did_not_collapse() -> None:
    def ended(wrong: Wrong) -> Verdict:
        store = MemoryStore()
        store.create_run(RUN, {})
        store.record(1, candidates=[candidate(i) for i in range(3)], evaluations=[scored(i, 0.5) for i in range(3)])
        for index in range(3):
            for one in trainings(index, RetrainingStage.HELD_OUT, 0.8, wrong):
                store.record_retraining(1, one)
        return verdict(store)

    every = {(i, RetrainingStage.HELD_OUT, a, seed): nan for i in range(3) for a in ANCHORS for seed in range(5)}
    failed = ended(every)
    assert (failed.word, failed.brief) == ("failed", "all finalists failed")
    assert str(failed) == (
        "No layer of this run is verified: each of its 3 finalists failed in a training, so none was scored on the "
        "test split. `evonas resume 1` tries again what failed."
    )
    mixed = ended({**every, **{(0, RetrainingStage.HELD_OUT, a, s): 0.0 for a in ANCHORS for s in range(5)}})
    assert mixed.brief == "all finalists collapsed or failed" and str(mixed).endswith("tries again what failed.")


def test_a_layer_without_any_score_on_the_test_split_is_not_verified() -> None:
    found = verdict(store_with({(1, RetrainingStage.TEST, a, s): nan for a in ANCHORS for s in range(5)}))
    assert not found.missing and not found.sound and found.as_dict()["verified"] is False
    assert str(found).startswith("No layer of this run is verified: the best, 1/1, was not compared with bn-relu")


def test_one_seed_tells_nothing_apart() -> None:
    store = MemoryStore()
    store.create_run(replace(RUN, verify_seeds=1), {})
    store.record(1, candidates=[candidate(1)], evaluations=[scored(1, 0.5)])
    for layer, level in ((1, 0.9), *((name, 0.7) for name in REFERENCES)):
        for stage in RetrainingStage.HELD_OUT, RetrainingStage.TEST:
            if stage is RetrainingStage.TEST or layer == 1:
                for one in trainings(layer, stage, level, {}, seeds=1):
                    later = stage is RetrainingStage.TEST
                    store.record_retraining(1, replace(one, seed=1001) if later else one)
    assert "not told apart from it (+20.0 points on images that chose nothing, one seed tells nothing)" in str(
        verdict(store)
    )


def test_without_an_unseen_network_it_says_so() -> None:
    found = verdict(store_with(unseen=None))
    assert found.better and found.unseen is None and not found.transfer
    assert "; it was tried on no network that the search did not train." in str(found)


def test_before_the_test_split_there_is_no_verdict_unless_all_collapsed() -> None:
    def ranked(wrong: Wrong, seeds: int = 5) -> Verdict | None:
        store = MemoryStore()
        store.create_run(RUN, {})
        store.record(1, candidates=[candidate(i) for i in range(3)], evaluations=[scored(i, 0.5) for i in range(3)])
        for index in range(3):
            for one in trainings(index, RetrainingStage.HELD_OUT, 0.8, wrong, seeds=seeds):
                store.record_retraining(1, one)
        return verdict_of(store, 1)

    all_fall = {(i, RetrainingStage.HELD_OUT, "resnet-small", 0): 0.1 for i in range(3)}
    assert ranked({}) is None and ranked(all_fall, seeds=4) is None
    found = ranked(all_fall)
    assert found is not None and found.layer is None and not found.better and not found.sound
    assert str(found).startswith("No layer of this run is verified: each of its 3 finalists collapsed")
    assert json.loads(json.dumps(found.as_dict()))["layer"] is None
    empty = MemoryStore()
    empty.create_run(RUN, {})
    assert verdict_of(empty, 1) is None


def test_the_document_is_json_and_says_what_the_words_say() -> None:
    found = verdict(store_with())
    document = json.loads(json.dumps(found.as_dict()))
    assert document["better"] and document["layer"]["id"] == "1/1" and document["text"] == str(found)
    assert [one["id"] for one in document["finalists"]] == ["1/1", "1/2", "1/0"]
    assert [(one["stage"], one["reference"]) for one in document["comparisons"]] == [
        (stage, name) for stage in ("test", "transfer") for name in REFERENCES
    ]


def test_chance_is_what_the_run_recorded() -> None:
    store = MemoryStore()
    assert chance_of(store.create_run(RUN, {CHANCE: "0.5"})) == 0.5
    assert chance_of(store.create_run(RUN, {})) == 0.1  # digits
    own = replace(RUN, protocol=replace(RUN.protocol, data="npz"))
    assert chance_of(store.create_run(own, {})) == 0.0
    pair = Sample({"a": {0: 0.9, 1: 0.9, 2: 0.6}})  # of two classes, 0.6 is little more than chance
    assert collapsed(pair, 0.5) == ["0.600 on a with seed 2"] and collapsed(pair, 0.0) == []
