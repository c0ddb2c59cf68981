"""The study of whole searches: what it trains, what it compares, and what it says of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import evonas
from benchmarks.discovery.leaders import Leader, leaders, medians, passing
from benchmarks.discovery.page import leads, rejections, tables
from benchmarks.discovery.picture import picture
from benchmarks.discovery.searching import Variant, path_of, searched
from benchmarks.discovery.summary import summary, table
from benchmarks.discovery.testing import (
    PUBLISHED,
    Yardstick,
    as_long,
    comparisons,
    four_times_as_long,
    jobs,
    winner_of,
    yardstick,
)
from benchmarks.training_rows import Row, missing, read, train
from evonas.records.evidence import best_known
from evonas.reruns.significance import holm, paired
from evonas.setup.make_executor import make_executor
from tests.fakes import FakeExecutor, config
from tests.test_evolution import searched as searched_quickly

ANCHORS = ("resnet-small", "mobilenet-small")
PROTOCOL = {
    "data": "digits",
    "anchors": ANCHORS[:1],
    "steps": 20,
    "signal": False,
    "stability_steps": (),
    "floors": "absolute",
    "early_steps": (),
    "early_floors": (),
    "quality_floor": 0.0,
    "hurdle_steps": (),
}
QUICK = Variant("quick", settings={"budget": 3, "rungs": (2,), "finalists": 1, "verify_seeds": 1}, protocol=PROTOCOL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("discovery")


@pytest.fixture(scope="module")
def result(folder: Path) -> evonas.Result:
    variant = replace(QUICK, settings={**QUICK.settings, "executor": "local", "references": ()})
    first = searched(folder, variant, 5, None)
    again = searched(folder, variant, 5, None)  # read, not searched again
    assert again.store.run_ids() == [1] and path_of(folder, "quick", 5).exists()
    assert again.verdict == first.verdict is not None
    return again


TASK = "test, 160 steps, rate 0.2"


def row(layer: str, seed: int, score: float, anchor: str = ANCHORS[0]) -> Row:
    return Row(layer, TASK, anchor, seed, score, False, 1.5)


@pytest.fixture(scope="module")
def by(result: evonas.Result) -> Yardstick:
    return four_times_as_long("test", result.run.config, seeds=2)


def test_winners_and_published_layers_are_trained_four_times_as_long(result: evonas.Result, by: Yardstick) -> None:
    wanted = jobs([winner_of(result) or ""] * 2, by)
    layers, seeds = [*PUBLISHED, winner_of(result)], (20_000, 20_001)
    assert [(job.layer, job.protocol.seed) for job in wanted] == [(name, seed) for seed in seeds for name in layers]
    protocol = wanted[0].protocol
    assert protocol.steps == 4 * 2 * 20 and protocol.anchors == (ANCHORS[0], "vgg-small")
    assert (by.anchors, by.unseen, by.task) == (ANCHORS[:1], "vgg-small", TASK)
    assert {job.name for job in wanted} == {TASK}
    assert all(job.split == "test" for job in wanted)
    assert four_times_as_long("test", replace(result.run.config, rungs=())).protocol.steps == 4 * 20


def test_the_yardsticks_by_name(tmp_path: Path) -> None:
    crops = yardstick("crops", None)
    assert (crops.protocol.data, crops.protocol.steps, crops.unseen, crops.seeds) == (
        "crops",
        1600,
        "efficientnet-small",
        10,
    )
    assert not crops.protocol.hurdle_steps and len(crops.anchors) == 4
    for kind in ("cat", "dog"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        for number in range(20):
            Image.new("RGB", (24, 24)).save(tmp_path / "train" / kind / f"{number}.png")
    for name in ("pictures", "target"):
        found = yardstick(name, str(tmp_path))
        assert found.protocol.data_dir == str(tmp_path) and found.seeds == 5
        assert len(found.anchors) == {"pictures": 2, "target": 3}[name]
    assert (found.unseen, found.protocol.steps) == ("vgg-medium", 1000)


def test_rows_are_written_as_they_come_and_not_trained_again(
    result: evonas.Result, by: Yardstick, tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    wanted = jobs([winner_of(result) or ""], by)[-2:]
    protocol = wanted[0].protocol
    rows = list(train(wanted, make_executor("local", protocol), file))
    assert read(file) == rows and len(rows) == 4
    assert {(one.layer, one.anchor) for one in rows} == {
        (job.layer, name) for job in wanted for name in protocol.anchors
    }
    assert missing(wanted, rows) == []
    # A line that a kill cut off is trained again, on the network that it was for.
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    (left,) = missing(wanted, read(file))
    assert left.protocol == replace(protocol, anchors=(rows[3].anchor,)) and left.layer == rows[3].layer


def test_comparisons_are_paired_by_seed_and_corrected() -> None:
    ours = {seed: 0.5 + 0.01 * (seed % 3) for seed in range(6)}
    others = {
        name: {seed: 0.5 - 0.01 * place + 0.003 * (seed % 2) for seed in range(6)}
        for place, name in enumerate(PUBLISHED)
    }
    rows = [row("mine", seed, score) for seed, score in ours.items()]
    rows += [row(name, seed, score) for name, of in others.items() for seed, score in of.items()]
    rows += [row("mine", 7, 0.9), row("bn-relu", 8, 0.1)]  # seeds of one of the two alone
    rows += [row("mine", 0, 0.0, "another network"), replace(row("mine", 0, 0.0), protocol="another yardstick")]
    found = comparisons(rows, TASK, "mine", ANCHORS[:1])
    plain = [paired(list(ours.values()), list(others[name].values())) for name in PUBLISHED]
    assert [one["published"] for one in found] == list(PUBLISHED)
    for one, expected, p in zip(found, plain, holm([None if each is None else each.p for each in plain]), strict=True):
        assert expected is not None and expected.interval is not None
        assert one["difference"] == pytest.approx(expected.difference) and one["pairs"] == 6
        assert one["interval"] == pytest.approx([expected.interval.low, expected.interval.high])
        assert one["p"] == pytest.approx(p)
    # A seed counts only where both networks have it.
    both = [*rows, *(row("mine", seed, 0.7, ANCHORS[1]) for seed in (0, 1)), row("bn-relu", 1, 0.6, ANCHORS[1])]
    assert [one["pairs"] for one in comparisons(both, TASK, "mine", ANCHORS)] == [1, 0, 0, 0, 0, 0]


def test_the_summary_its_table_and_its_picture(result: evonas.Result, by: Yardstick, tmp_path: Path) -> None:
    winner = winner_of(result)
    assert winner is not None
    rows = [
        row(layer, seed, 0.3 + 0.1 * (layer == winner) + 0.01 * (seed % 3) * (1 + place), anchor)
        for place, layer in enumerate((*PUBLISHED, winner))
        for seed in range(4)
        for anchor in by.protocol.anchors
    ]
    document = summary({"quick": {5: result}}, rows, [by])
    json.dumps(document, allow_nan=False)
    (search,) = document["searches"]
    assert (search["variant"], search["seed"], search["judged"], search["winner"]) == ("quick", 5, 3, winner)
    assert search["families_of_ten"] >= 1 and search["roots_of_fifty"] == 3 and search["core_minutes"] > 0
    assert search["verification_core_minutes"] > 0
    tests = search["tests"]["test"]
    assert tests["test"] == comparisons(rows, TASK, winner, ANCHORS[:1])
    assert tests["unseen"] == comparisons(rows, TASK, winner, ["vgg-small"])
    assert document["yardsticks"]["test"]["layers"][winner]["mean"] == pytest.approx(0.4 + 0.07 * 0.75)
    text = table(document)
    assert f"winner {winner}" in text and "test, test: bn-relu +0.1" in text and "test, unseen: bn-relu +0.1" in text
    found = tables(document)
    assert found["searches"][2].startswith("| quick, seed 5 | 3 | ") and found["winners"][2].endswith(f"| `{winner}` |")
    assert "rejections" not in found
    rows_of = rejections([search, search])
    passed = next(one for one in search["rejections"] if one["filter"] == "quality")
    assert f"| quality | {2 * passed['judged']} | 0% | {2 * passed['seconds']:.0f} |" in rows_of
    assert len(rows_of) == 2 + len(search["rejections"]) and search["rejections"][0]["cheap"]
    named = {**document, "searches": [{**search, "variant": "default"}]}
    assert tables(named)["rejections"] == rejections([search])
    ahead = tests["test"][0]
    half = 50 * (ahead["interval"][1] - ahead["interval"][0])
    text = f"{100 * ahead['difference']:+.1f} ± {half:.1f}"
    assert found["test, test"][2].split(" | ")[1].strip("* ") == text and (ahead["p"] < 0.01) == (
        "**" in found["test, test"][2].split(" | ")[1]
    )
    assert found["unseen, test"][0] == "| search | " + " | ".join(PUBLISHED) + " |"
    assert found["layers, test"][2].startswith(f"| `{winner}` | 0.4") and len(found["layers, test"]) == 2 + 7
    assert leads(document["searches"], "another", "test") == []
    drawn = picture(document, "test", "quick")
    assert drawn is not None
    drawn.savefig(tmp_path / "a.svg")
    assert "points above the published layer" in "".join(axes.get_xlabel() for axes in drawn.axes)
    first: Any = drawn.axes[0].get_lines()[0]
    assert first.get_xdata()[0] == pytest.approx(100 * tests["test"][0]["difference"])
    assert picture(document, "test", "another") is None


def test_random_search_gets_the_compute_of_the_search_that_it_is_compared_with(
    result: evonas.Result, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(evonas, "search", lambda **given: asked.update(given))
    searched(folder, Variant("other", settings={"strategy": "random"}, as_long_as="quick"), 5, 3)
    assert asked["core_minutes"] == pytest.approx(result.summary.core_seconds / 60)
    assert (asked["seed"], asked["workers"], asked["strategy"]) == (5, 3, "random")


def test_a_row_is_json() -> None:
    assert Row(**json.loads(json.dumps(asdict(row("mine", 1, 0.5))))) == row("mine", 1, 0.5)


RUNGS = config(budget=80, strategy="families", rungs=(2, 4), rung_anchors=(1,), promotion=0.3, rung_lookahead=7)


@pytest.mark.parametrize("seed", range(4))
def test_leaders_are_those_that_promised_most_at_the_time(seed: int) -> None:
    store, run = searched_quickly(replace(RUNGS, seed=seed, rung_lookahead=30), FakeExecutor(2))
    found = leaders(evonas.Result(store, run.id))
    assert len(found) > 3 and [one.core_minutes for one in found] == sorted(one.core_minutes for one in found)
    # In the end the leader is the best that is known, and what was spent is what the run took until it led.
    best = best_known(store, store.run(run.id), 1)[0][0]
    assert found[-1].layer == best.graph.canonical.expression()
    longer = sum(one.seconds for one in store.rung_trainings(run.id))
    everything = (longer + sum(e.core_seconds for e in store.evaluations(run.id))) / 60
    assert 0.0 < found[0].core_minutes < found[-1].core_minutes <= everything
    # The first leader is the first that was scored.
    first = next(e for e in store.evaluations(run.id) if e.scores)
    assert found[0].layer == store.candidate(run.id, first.index).graph.canonical.expression()


def test_passing_is_being_ahead_to_the_end(by: Yardstick) -> None:
    some = [Leader(1.0, "a"), Leader(2.0, "b"), Leader(3.0, "a"), Leader(4.0, "c")]
    scores = {"a": 0.3, "b": 0.5, "c": 0.6, "bn-relu": 0.2, "evonorm-b0": 0.4, "bn-swish": 0.7}
    rows = [row(layer, seed, score, anchor) for layer, score in scores.items() for seed in (0, 1) for anchor in ANCHORS]
    assert passing(some, rows, replace(by, protocol=replace(by.protocol, anchors=ANCHORS))) == {
        "bn-relu": 1.0,
        "evonorm-b0": 4.0,  # it fell behind once more at 3
        "bn-swish": None,
    }
    times = [
        {"bn-relu": 1.0, "evonorm-b0": 2.0, "bn-swish": None},
        {"bn-relu": 3.0, "evonorm-b0": None, "bn-swish": None},
    ]
    assert medians([*times, {"bn-relu": 9.0, "evonorm-b0": 4.0, "bn-swish": 1.0}]) == {
        "bn-relu": 3.0,
        "evonorm-b0": 4.0,
        "bn-swish": None,
    }


def test_leaders_are_trained_as_long_as_the_search_trains() -> None:
    yardstick = as_long(replace(RUNGS, protocol=replace(RUNGS.protocol, anchors=ANCHORS)))
    assert (yardstick.protocol.steps, yardstick.anchors, yardstick.unseen) == (4 * RUNGS.protocol.steps, ANCHORS, None)
    wanted = jobs(["x", "abs(x)", "x"], yardstick)
    assert len(wanted) == 5 * (len(PUBLISHED) + 2) and {job.protocol.anchors for job in wanted} == {ANCHORS}
