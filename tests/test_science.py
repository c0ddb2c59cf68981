"""The study's arithmetic, on runs small enough to check by hand, and the command as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.science import breeding, counting, searching
from benchmarks.science.census import read
from benchmarks.science.runs import VARIANTS
from evonas.front.result import Result
from evonas.language.graph import Graph
from evonas.records.memory_store import MemoryStore
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

ROOT = Path(__file__).parent.parent
ANCHORS = ("a", "b")
PROTOCOL = EvaluationProtocol(anchors=ANCHORS, stability_steps=(), hurdle_steps=(50,), hurdle_quantile=0.0)


def stored(evaluations: Sequence[Evaluation]) -> Result:
    store = MemoryStore()
    run = store.create_run(RunConfig(evonorm, protocol=PROTOCOL), {})
    candidates = [
        Candidate(e.index, Graph.parse("tanh(x)"), f"k{e.index}", f"f{e.index}", Origin(OriginKind.RANDOM))
        for e in evaluations
    ]
    store.record(run.id, candidates=candidates, evaluations=evaluations)
    return Result(store, run.id)


def scored(index: int, a: float, b: float, seconds: float = 60.0, at_50: float = 0.5) -> Evaluation:
    passed = (FilterOutcome("hurdle a end", True, "", a, 0.0), FilterOutcome("hurdle b 50", True, "", at_50, 0.0))
    halves = {"a": seconds / 2, "b": seconds / 2}
    return Evaluation(index, Status.SCORED, {"a": a, "b": b}, filters=passed, seconds=halves)


def test_quality_over_compute() -> None:
    """One minute each; the hypervolume is the area that the points dominate beyond chance, of 0.9²."""
    curves = searching.over_time([scored(0, 0.4, 0.4), scored(1, 0.7, 0.2), scored(2, 0.05, 0.9)], 3.0)
    third = searching.POINTS // 3
    assert curves["minutes"][-1] == 3.0 and curves["minutes"][third - 1] == pytest.approx(1.0)
    assert curves["hypervolume"][third - 2] == 0.0
    assert curves["hypervolume"][third - 1] == pytest.approx(0.3 * 0.3 / 0.81)
    assert curves["hypervolume"][-1] == pytest.approx((0.3 * 0.3 + 0.3 * 0.1) / 0.81)  # the last is below chance on a
    assert curves["best"][-1] == pytest.approx(0.475)
    assert curves["top_10"][-1] == pytest.approx((0.4 + 0.45 + 0.475) / 3)


def test_a_run_is_cut_at_its_compute() -> None:
    result = stored([scored(i, 0.1 * i, 0.5) for i in range(8)])
    assert searching.account("x", result, 5.5)["judged"] == 5
    assert searching.account("x", result, 5.5)["best"] == pytest.approx((0.4 + 0.5) / 2)


def test_inheritance_and_rejections() -> None:
    texts = ["tanh(x)", "tanh(x + v0)", "x", "-tanh(x)"]  # the second and the last start as the first does
    origins = [Origin(OriginKind.RANDOM), *(Origin(OriginKind.MUTATION, parent) for parent in (0, 1, 2))]
    candidates = [
        Candidate(n, Graph.parse(text), f"k{n}", f"f{n}", origin, {"duplicate": n})
        for n, (text, origin) in enumerate(zip(texts, origins, strict=True))
    ]
    evaluations = [scored(0, 0.4, 0.6), scored(1, 0.41, 0.6), scored(3, 0.9, 0.7)]
    found = breeding.inheritance(candidates, evaluations)
    # The parent of the last was not scored, so that there is nothing to compare it with.
    assert found == {
        "scored": 3, "start_as_an_earlier_one": 2, "mutants": 1, "neutral": 1, "better": 0, "median_parent": 0.5
    }  # fmt: skip
    counted = breeding.turned_away(candidates, evaluations)
    assert counted["proposals"] == 4 + 6 and counted["fell"] == {"duplicate": 6}
    assert counted["filters"]["hurdle b 50"] == {"judged": 3, "rejected": 0, "core_seconds": 0.0}


def test_hurdles_replayed() -> None:
    """Forty weak layers, then a strong and a weak one: the quantile rejects the last one but not the best."""
    runs = [scored(i, 0.5, 0.5, at_50=0.5) for i in range(40)]
    runs += [scored(40, 0.9, 0.9, at_50=0.9), scored(41, 0.2, 0.2, at_50=0.2), scored(42, 0.5, 0.5, at_50=0.2)]
    found = searching.hurdles([stored(runs)])
    assert found["layers"] == 43
    half = next(r for r in found["replays"] if (r["step"], r["quantile"]) == (50, 0.5))
    # 41 falls at the end of a and saves b; 42 falls halfway through b.
    assert half["saved_of_run"] == pytest.approx((30 + 15) / (43 * 60))
    assert half["best_kept"] == 1
    ends = next(r for r in found["replays"] if (r["step"], r["quantile"]) == (None, 0.5))
    assert ends["saved_of_run"] == pytest.approx(30 / (43 * 60))


def record(number: int, accuracy: float, signal: str | None = None, exploded: int | None = None) -> dict[str, object]:
    curve = {str(step): accuracy for step in (10, 20, 30, 40, 50, 60, 70, 80, 90)}
    return {
        "number": number,
        "kind": "random",
        "signal": {"reason": signal, "seconds": 0.5},
        "stability": {"exploded": exploded, "seconds": {"5": 1.0, "10": 2.0, "20": 4.0, "50": 10.0, "100": 20.0}},
        "anchors": {a: {"accuracy": accuracy, "curve": curve, "seconds": 10.0} for a in ANCHORS},
        **({"again": {"a": accuracy - 0.1, "b": accuracy - 0.1}} if accuracy >= 0.2 else {}),
    }


def test_what_filters_save_and_cost() -> None:
    records = [record(0, 0.8), record(1, 0.6, exploded=3), record(2, 0.1, "scale too low"), record(3, 0.05)]
    numbers = counting.census_numbers(records, PROTOCOL)
    assert numbers["filters"]["signal"] | {"seconds_to_reject": 0.5} == numbers["filters"]["signal"]
    assert (numbers["filters"]["signal"]["rejected"], numbers["filters"]["signal"]["rejected_that_learn"]) == (1, 0)
    assert numbers["filters"]["stability-5"]["best_rejected"] == pytest.approx(0.6)
    searches = numbers["searches"]
    # Everything trained whole: 20 s each. With every filter: 20.5 twice, 0.5, and 2.5 for the one that falls
    # at step 20 (a fifth of 10 s, after the signal's half).
    assert searches["no filter"]["seconds_a_candidate"] == pytest.approx(20.0)
    assert searches["every filter"]["seconds_a_candidate"] == pytest.approx((20.5 * 2 + 0.5 + 2.5) / 4)
    # Without the signal filter the third is trained until it falls at step 60.
    assert searches["without signal"]["seconds_a_candidate"] == pytest.approx((20 * 2 + 6 + 2) / 4)
    assert searches["every filter"]["final"] == pytest.approx(0.8, abs=0.01)  # 400 searches of 54 candidates each
    assert numbers["noise"]["within_layer"] == pytest.approx((0.1**2 / 2) ** 0.5)
    assert numbers["noise"]["unstable"]["layers"] == 1
    stages = numbers["stability"]["random"]
    assert [row["rejected"] for row in stages] == [1, 0, 0, 0, 0] and stages[0]["of"] == 3


def test_a_line_that_was_cut_off_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "census.jsonl"
    file.write_text(json.dumps(record(0, 0.5)) + "\n" + json.dumps(record(1, 0.5))[:40])
    assert list(read(file)) == [0]
    assert read(tmp_path / "absent") == {}


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.science", "--storage", str(tmp_path / "s.db"), "--seeds", "0"]
    command += ["--census", str(tmp_path / "c.jsonl"), "--core-minutes", "0.3", "--random", "12", "--evolved", "2"]
    command += ["--top", "1", "-o", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    document = json.loads((tmp_path / "science.json").read_text())
    assert {run["label"] for run in document["runs"]} == {variant.label for variant in VARIANTS}
    assert all(norm < 10 for norm in document["published"]["norms"].values())
    assert document["runs"][0]["turned_away"]["filters"]["signal"]["judged"] > 0
    assert document["census"]["random"] == 12 and len(document["test"]) > 5
    assert (tmp_path / "science_strategies.svg").exists()
