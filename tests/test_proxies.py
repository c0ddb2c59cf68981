"""The study of proxies: how well short trainings order layers, by correlation and by regret."""

from __future__ import annotations

import pytest

from benchmarks.proxies.agreement import agreement, means, regret
from benchmarks.proxies.proxy_table import ANCHORS, LONG, PROXIES, SEEDS, protocol_of
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
