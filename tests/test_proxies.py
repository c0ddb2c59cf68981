"""The study of proxies: how well short trainings order layers, by correlation and by regret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.proxies.agreement import agreement, means, regret
from benchmarks.proxies.page import tables
from benchmarks.proxies.picture import picture
from benchmarks.proxies.proxy_table import ANCHORS, LONG, PROXIES, SEEDS, protocol_of
from benchmarks.proxies.summary import by_origin
from benchmarks.target.layer_list import layers
from benchmarks.training_rows import Row


def row(layer: int, anchor: str, seed: int, score: float, proxy: str = "crops 100") -> Row:
    return Row(f"layer {layer}", proxy, anchor, seed, score, False, 2.0)


def test_a_mean_is_of_layers_that_have_every_training() -> None:
    rows = [
        row(0, "a", 0, 0.2),
        row(0, "b", 0, 0.4),
        row(1, "a", 0, 0.9),
        row(0, "a", 1, 0.9),
        row(0, "a", 0, 0.9, "x"),
    ]
    assert means(rows, "crops 100", ("a", "b"), (0,)) == {"layer 0": pytest.approx(0.3)}


def test_regret_is_what_the_ten_best_of_a_proxy_lack() -> None:
    target = {f"layer {i}": i / 100 for i in range(30)}
    assert regret(target, target) == 0.0
    turned = {name: -score for name, score in target.items()}
    assert regret(turned, target) == pytest.approx(0.29 - 0.09)


def test_networks_that_agree_with_the_target_are_told_from_those_that_do_not() -> None:
    target = {f"layer {i}": i / 100 for i in range(20)}
    rows = [
        row(i, anchor, seed, (i if anchor == ANCHORS[0] else -2 * i) / 100 + 0.5)
        for i in range(20)
        for anchor in ANCHORS[:2]
        for seed in SEEDS
    ]
    table = agreement(rows, target)
    found = {(tuple(one["anchors"]), one["seeds"]): one for one in table}
    assert set(found) == {(names, count) for names in (ANCHORS[:1], ANCHORS[1:2], ANCHORS[:2]) for count in (1, 2)}
    good, bad = found[ANCHORS[:1], 1], found[ANCHORS[1:2], 2]
    assert (good["correlation"], good["correlation_of_better_half"], good["regret"]) == (
        pytest.approx(1),
        pytest.approx(1),
        0,
    )
    assert bad["correlation"] == pytest.approx(-1) and bad["regret"] == pytest.approx(0.1)
    assert (good["core_seconds"], bad["core_seconds"]) == (2.0, 4.0)


def test_proxies_differ_and_the_long_one_has_four_times_the_longest_training() -> None:
    assert len({proxy.name for proxy in PROXIES}) == len(PROXIES) >= 12
    protocol = protocol_of(LONG, "", 3)
    assert (protocol.data, protocol.steps, protocol.seed, protocol.anchors) == ("crops", 1600, 3, ANCHORS)
    assert len(set(layers())) == len(layers()) > 30


def test_the_page_has_the_tables_of_the_json_and_says_what_they_say() -> None:
    root = Path(__file__).parent.parent
    document = json.loads((root / "benchmarks" / "results" / "proxies.json").read_text())
    page = (root / "docs" / "SCIENCE.md").read_text()
    for lines in tables(document).values():
        assert "\n".join(lines) in page
    target = document["targets"][LONG.name]
    assert len(target["layers"]) == 50 == sum(count for count, *_ in by_origin(target["layers"]).values())
    single = [row for row in target["proxies"] if row["seeds"] == 1]
    alone = [row for row in single if row["anchors"] == ["mobilenet-small"]]
    together = [row for row in single if len(row["anchors"]) == 3]
    # "At any price": no longer training on all networks is better for less than twice what the MobileNet takes.
    for row in together:
        cheaper = [one["correlation"] for one in alone if one["core_seconds"] <= row["core_seconds"]]
        assert not cheaper or max(cheaper) > row["correlation"] or row["core_seconds"] > 2 * alone[-1]["core_seconds"]
    best = max(target["layers"], key=lambda layer: layer["accuracy"])
    assert best["origin"] == "later hurdle"


def test_the_picture_has_a_line_for_each_network_and_for_all_of_them() -> None:
    document = json.loads((Path(__file__).parent.parent / "benchmarks" / "results" / "proxies.json").read_text())
    (axes,) = picture(document["targets"][LONG.name]).axes
    assert [line.get_label() for line in axes.get_lines()] == ["mobilenet", "resnet", "vgg", "resnet, mobilenet, vgg"]
    assert all(len(line.get_xdata()) == 4 for line in axes.get_lines())  # type: ignore[arg-type]
