"""The benchmark of the filters: its counts, measuring other checkouts, and continuing the price measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.filters import price, speed
from benchmarks.filters.__main__ import main
from benchmarks.filters.proposals import measured, measured_elsewhere
from evonas.judging.cheap_filters import CHEAP_FILTERS
from evonas.language.graph import Graph
from evonas.setup.assemble import configure

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("strategy", ["random", "pareto"])
def test_every_proposal_is_counted_once(strategy: str) -> None:
    found = measured("evonorm-s", strategy, 0.02, 200, 0)
    assert found["proposals"] >= 200
    assert found["candidates"] + sum(found["discarded"].values()) == found["proposals"]
    assert ("selection" in found["seconds"]) == (strategy == "pareto")
    stages = speed.summary([found])["stages"]
    assert stages["structural"]["judged"] == found["proposals"]
    left = [stages[name]["judged"] - stages[name]["rejected"] for name in CHEAP_FILTERS]
    assert left == sorted(left, reverse=True)
    assert left[-1] == found["candidates"]
    # Each stage runs within the whole; the clocks of the thread and of the process tick apart by less than this.
    assert 0 < sum(found["seconds"].values()) < found["core_seconds"] + 0.01


def test_a_checkout_compared_with_itself_draws_the_same() -> None:
    case = ("evonorm", "random", 0.0, 100, 3)
    ours, theirs = measured(*case), measured_elsewhere(ROOT, *case)
    assert speed.compared([ours], [theirs])["same_candidates"]
    assert not speed.compared([ours], [{**theirs, "keys": ""}])["same_candidates"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "at least 1, not 0"),
        (["--rounds", "-1"], "at least 1, not -1"),
        (["--against", "nowhere"], "this is not a checkout of evonas"),
        (["price", "--space", "evonrom"], "unknown search space"),
    ],
)
def test_bad_use(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["filters", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def record(rejected_by: str | None, seconds: float, passes: bool) -> dict[str, Any]:
    return {"rejected_by": rejected_by, "core_seconds": seconds, "passes": passes}


def test_the_cost_of_rejections_and_scores() -> None:
    config = configure("evonorm")
    records = [
        record("signal", 1.0, False),
        record("signal", 3.0, True),
        record("early-20", 8.0, False),
        record(None, 20.0, True),
        record(None, 30.0, True),
    ]
    _, found = price.report(records, config.protocol)
    assert found["all"] == {"rejected": 3, "false": 1, "passing": 3, "median_seconds": 3.0, "mean_seconds": 4.0}
    assert found["scored"] == {"scored": 2, "median_seconds": 25.0, "mean_seconds": 25.0}
    assert found["filters"]["signal"]["judged"] == 5
    assert found["filters"]["early-20"] == {
        "judged": 3,
        "rejected": 1,
        "false": 0,
        "median_seconds": 8.0,
        "mean_seconds": 8.0,
    }
    assert found["filters"]["quality"]["median_seconds"] is None


def test_the_price_measurement_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []

    def judge(kind: str, graph: Graph, *_: object) -> dict[str, Any]:
        judged.append(f"{kind} {graph.key}")
        return record(None, 1.0, True)

    monkeypatch.setattr(price, "judge", judge)
    file = tmp_path / "price.json"
    config = configure("evonorm-s")
    price.run(config, 5, file, anew=False)
    whole = judged[1:]  # the first warms the process up
    assert [name.split()[0] for name in whole] == ["random", "mutated", "random", "mutated", "random"]
    file.unlink()
    for count in (2, 5):
        judged.clear()
        price.run(config, count, file, anew=False)
        assert judged[1:] == (whole[:2] if count == 2 else whole[2:])
    assert len(json.loads(file.read_text())["records"]) == 5
    with pytest.raises(SystemExit) as end:
        price.run(configure("evonorm"), 5, file, anew=False)
    assert end.value.code == 2
    price.run(configure("evonorm"), 1, file, anew=True)
    assert len(json.loads(file.read_text())["records"]) == 1
