"""The study of what small networks say of a deeper one: what it trains, and that docs/SCIENCE.md has its table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.discovery.deeper import (
    AFFORDED,
    NETWORK,
    PUBLISHED,
    SEEDS,
    TARGET,
    Candidate,
    best_of,
    deeper_jobs,
    summary,
    table,
)
from benchmarks.training_rows import Row, read
from evonas.front.result import Result
from evonas.records.evidence import best_known
from tests.fakes import FakeExecutor, config
from tests.test_evolution import searched

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def row(layer: str, protocol: str, score: float) -> Row:
    return Row(layer, protocol, NETWORK, SEEDS[protocol], score, False, 1.0)


def test_the_best_of_a_search_are_taken_by_all_their_trainings() -> None:
    store, run = searched(config(budget=60, strategy="families", rungs=(2,), promotion=0.3), FakeExecutor(2))
    found = best_of(Result(store, run.id), 5)
    known = [candidate.graph.canonical.expression() for candidate, *_ in best_known(store, run, 5)]
    assert [one.layer for one in found] == list(dict.fromkeys(known))
    assert all(0.0 < one.promised < 1.0 for one in found)


def test_each_layer_is_trained_as_the_target_has_it_and_as_a_search_can_afford_it(tmp_path: Path) -> None:
    for number in range(40):
        file = tmp_path / "train" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 24)).save(file)
    by_name = {job.name: job.protocol for job in deeper_jobs(["bn-relu"], str(tmp_path))}
    target, afforded = by_name[TARGET], by_name[AFFORDED]
    assert {p.anchors for p in by_name.values()} == {(NETWORK,)}
    assert (target.steps, target.crop, target.lr, target.seed) == (1000, 24, 0.1, SEEDS[TARGET])
    assert (afforded.steps, afforded.image_size, afforded.lr, afforded.seed) == (400, 16, 0.2, SEEDS[AFFORDED])


def test_evidence_is_judged_by_the_order_of_the_target() -> None:
    target = {"a": 0.5, "b": 0.6, "c": 0.7}
    rows = [row(layer, TARGET, score) for layer, score in target.items()]
    rows += [row(layer, AFFORDED, score - 0.1) for layer, score in target.items()]
    rows.append(row("half", TARGET, 0.9))  # of which one training is missing
    candidates = [Candidate("a", 0.43), Candidate("b", 0.42), Candidate("c", 0.41), Candidate("half", 0.4)]
    found = summary({"seed 0": candidates}, rows)["searches"]["seed 0"]
    assert found["candidates"] == 3
    assert found["small"] == {"correlation": pytest.approx(-1.0), "chosen": "a", "score": 0.5, "place": 3}
    assert found["medium"] == {"correlation": pytest.approx(1.0), "chosen": "c", "score": 0.7, "place": 1}


def test_the_page_has_what_was_measured() -> None:
    document, rows = json.loads((RESULTS / "deeper.json").read_text()), read(RESULTS / "deeper_rows.jsonl")
    assert "\n".join(table(document)) in (ROOT / "docs" / "SCIENCE.md").read_text()
    assert set(document["layers"]) == {one.layer for one in rows} >= set(PUBLISHED)
    for one in rows:
        assert document["layers"][one.layer][one.protocol] == one.score
