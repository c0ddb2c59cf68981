"""The target: how its trainings are summarised, and how far it agrees with itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.target import __main__ as protocol
from benchmarks.target.layer_list import target_layers
from benchmarks.target.page import tables
from benchmarks.target.summary import summary, table
from benchmarks.training_rows import Row, read

ANCHORS, UNSEEN = ("a", "b"), "u"


def rows(layer: str, seed: int, *scores: float) -> list[Row]:
    return [
        Row(layer, "target", anchor, seed, score, score == 0.0, 2.0)
        for anchor, score in zip((*ANCHORS, UNSEEN), scores, strict=True)
    ]


LAYERS = [{"layer": name, "origin": "random"} for name in ("one", "two", "three", "four", "none", "half")]


def test_layers_are_ordered_by_the_mean_over_the_networks_that_count() -> None:
    found = [
        *rows("one", 1, 0.5, 0.7, 0.1),
        *rows("one", 2, 0.3, 0.7, 0.1),
        *rows("two", 1, 0.8, 0.8, 0.0),
        *rows("two", 2, 0.8, 0.6, 0.2),
        *rows("three", 1, 0.2, 0.2, 0.9),
        *rows("half", 1, 0.9, 0.9, 0.9)[:2],  # not on every network
    ]
    document = summary(LAYERS, found, ANCHORS, UNSEEN)
    layers = document["layers"]
    assert [one["layer"] for one in layers] == ["two", "one", "three"]
    assert layers[1]["accuracy"] == pytest.approx(0.55) and layers[1]["networks"]["a"] == pytest.approx(0.4)
    assert [one["seeds"] for one in layers] == [2, 2, 1]
    assert layers[0]["diverged"] == 1 and layers[0]["core_seconds"] == 12.0
    assert document["between_seeds"] == {"layers": 2}  # too few for a correlation
    assert table(document).splitlines()[0].startswith("0.7500  0.800  0.700  0.100  2 seeds  random")


def test_the_target_is_compared_with_itself() -> None:
    found = []
    for place, name in enumerate(("one", "two", "three", "four")):
        level = 0.2 + 0.1 * place
        found += rows(name, 1, level, level, 1 - level)
        found += rows(name, 2, level, level, 1 - level) if place < 2 else rows(name, 2, 1.4 - level, 1.4 - level, level)
    document = summary(LAYERS, found, ANCHORS, UNSEEN)
    # With the first seed the order is 1, 2, 3, 4, with the second 1, 2, 4, 3; the means of the last two are equal.
    assert document["between_seeds"]["layers"] == 4
    assert document["between_seeds"]["all"] == pytest.approx(0.8)
    assert document["between_networks"]["a"] == pytest.approx(1.0)
    assert document["between_networks"]["u"] < 0


def test_the_page_has_the_tables_of_the_json_and_says_what_they_say() -> None:
    root = Path(__file__).parent.parent
    document = json.loads((root / "benchmarks" / "results" / "target.json").read_text())
    page = (root / "docs" / "SCIENCE.md").read_text()
    for lines in tables(document).values():
        assert "\n".join(lines) in page
    text, layers = " ".join(page.split()), document["layers"]
    assert len(layers) == len(target_layers()) == 72 and all(one["seeds"] == 1 for one in layers)
    places = {
        origin: [place for place, one in enumerate(layers, 1) if one["origin"] == origin]
        for origin in ("winner on CIFAR-10, with a target", "winner on crops")
    }
    first, *others = places["winner on CIFAR-10, with a target"]
    assert first == 1 and f"the other two of that kind have places {others[0]} and {others[1]}" in text
    assert f"Of the five winners of the default the best has place {places['winner on crops'][0]}" in text
    failed = sum(any(score < 0.2 for score in one["networks"].values()) for one in layers)
    assert f"{failed} layers fail on a network of the target" in text
    between = document["between_networks"]
    counted = [between[name] for name in document["anchors"]]
    assert f"correlation of {min(counted):.2f} to {max(counted):.2f}, the VGG with {between['vgg-medium']:.2f}" in text
    assert f"on a VGG; {sum(one['core_seconds'] for one in layers) / 60:.0f} core-minutes, one seed" in text


def test_the_summary_is_that_of_the_recorded_trainings() -> None:
    results = Path(__file__).parent.parent / "benchmarks" / "results"
    found = summary(target_layers(), read(results / "target_rows.jsonl"), protocol.ANCHORS, protocol.UNSEEN)
    document = json.loads((results / "target.json").read_text())
    assert {**found, "environment": 0} == {**document, "environment": 0}
