"""The study of proxies: how well short trainings order layers, by correlation and by regret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.proxies.agreement import agreement, means, regret
from benchmarks.proxies.page import tables
from benchmarks.proxies.picture import picture
from benchmarks.proxies.proxy_table import ANCHORS, FURTHER, LONG, LONGS, PROXIES, SEEDS, TARGET, protocol_of
from benchmarks.proxies.summary import by_origin
from benchmarks.target.layer_list import target_layers
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
    names = [layer["layer"] for layer in target_layers()]
    assert len(set(names)) == len(names) >= 60


def test_the_page_has_the_tables_of_the_json_and_says_what_they_say() -> None:
    root = Path(__file__).parent.parent
    document = json.loads((root / "benchmarks" / "results" / "proxies.json").read_text())
    page = (root / "docs" / "SCIENCE.md").read_text()
    for lines in tables(document).values():
        assert "\n".join(lines) in page
    target = document["targets"][LONG.name]
    assert len(target["layers"]) == 50 == sum(count for count, *_ in by_origin(target["layers"]).values())
    # Layers are compared at the rate that suits published ones.
    reached = {
        long.name: {one["layer"]: one["accuracy"] for one in document["targets"][long.name]["layers"]} for long in LONGS
    }
    for name in ("bn-relu", "bn-swish", "gn-relu"):
        assert max(reached, key=lambda rate: reached[rate][name]) == LONG.name
    found = [[reached[long.name][one["layer"]] for one in target["layers"]] for long in LONGS[:2]]
    relu = [reached[long.name]["bn-relu"] for long in LONGS[:2]]
    better = [sum(one > level for one in of) - 1 for of, level in zip(found, relu, strict=True)]  # BN-Swish is, too
    behind = [sum(one < 0.9 * level for one in of) for of, level in zip(found, relu, strict=True)]
    text = " ".join(page.split())
    assert (
        f"of the 44 that are not published {better[1]} are better than BN-ReLU at 0.1, and {better[0]} at 0.2" in text
    )
    assert (
        f"{behind[0]} of the fifty are then more than a tenth of its accuracy behind it, where {behind[1]} were" in text
    )
    # What the page says below the table.
    rows = {(row["proxy"], len(row["anchors"])): row for row in target["proxies"] if row["seeds"] == 1}
    single = [row for row in target["proxies"] if row["seeds"] == 1 and row["anchors"] == ["mobilenet-small"]]
    alone = {row["proxy"]: row for row in single}
    short = rows["crops 100, lr 0.2", 3]
    assert short["correlation"] > rows["crops 400", 3]["correlation"]
    assert alone["crops 100, lr 0.2"]["correlation"] > short["correlation"] - 0.05
    assert alone["crops 100, lr 0.2"]["correlation_of_better_half"] < short["correlation_of_better_half"] - 0.3
    assert alone["crops 100, lr 0.4"]["correlation"] > short["correlation"]
    assert alone["crops 200, lr 0.2"]["correlation_of_better_half"] < 0.5
    best = max(target["layers"], key=lambda layer: layer["accuracy"])
    assert best["origin"] == "later hurdle"


def test_what_is_said_of_deeper_networks() -> None:
    root = Path(__file__).parent.parent
    targets = json.loads((root / "benchmarks" / "results" / "proxies.json").read_text())["targets"]
    fifty, further = (
        {(row["proxy"], tuple(row["anchors"])): row for row in targets[name]["proxies"] if row["seeds"] == 1}
        for name in (TARGET, FURTHER)
    )
    assert len(targets[TARGET]["layers"]) == 50 and len(targets[FURTHER]["layers"]) == 22
    small = ("resnet-small", "mobilenet-small", "vgg-small")
    longest, long = fifty[LONG.name, small], fifty["crops 400, lr 0.2", small]
    medium = fifty["crops 400, medium", ("mobilenet-medium",)]
    assert longest["correlation"] < long["correlation"] + 0.05 and round(longest["core_seconds"]) == 45
    both = ("correlation", "correlation_of_better_half")
    others = [row for (proxy, _), row in fifty.items() if "medium" not in proxy]
    assert all(medium[key] > max(row[key] for row in others) for key in both)
    assert (
        round(medium["core_seconds"]) == 4 and further["crops 400, medium", ("mobilenet-medium",)]["correlation"] > 0.7
    )


def test_the_picture_has_a_line_for_each_network_and_for_all_of_them() -> None:
    document = json.loads((Path(__file__).parent.parent / "benchmarks" / "results" / "proxies.json").read_text())
    (axes,) = picture(document["targets"][LONG.name]).axes
    assert [line.get_label() for line in axes.get_lines()] == ["mobilenet", "resnet", "vgg", "resnet, mobilenet, vgg"]
    assert all(len(line.get_xdata()) == 4 for line in axes.get_lines())  # type: ignore[arg-type]
