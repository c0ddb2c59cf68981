"""The table of distances between offspring and their parents."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import strides
from evonas.language.graph import Graph
from evonas.records.memory_store import MemoryStore
from evonas.settings.candidate import Candidate, Evaluation, Origin, OriginKind, Status
from evonas.setup.assemble import open_storage
from tests.store_samples import CONFIG

LAYERS = (
    ("x", None, 0.5),
    ("x + x", 0, 0.53),  # at 0.5
    ("x + (x + x)", 0, 0.6),  # at 2/3
    ("-x", 0, 0.51),  # at 0
    ("max(x, 0)", 1, None),  # rejected
)


def filled(store: MemoryStore) -> MemoryStore:
    store.create_run(CONFIG, {})
    for index, (text, parent, score) in enumerate(LAYERS):
        graph = Graph.parse(text)
        kind = OriginKind.RANDOM if parent is None else OriginKind.MUTATION
        candidate = Candidate(index, graph, graph.key, f"function {index}", Origin(kind, parent, ("a change",)))
        status = Status.REJECTED if score is None else Status.SCORED
        scores = {} if score is None else dict.fromkeys(CONFIG.protocol.anchors, score)
        evaluation = Evaluation(index, status, scores, seconds={CONFIG.protocol.anchors[0]: 2.0 + index})
        store.record(1, candidates=[candidate], evaluations=[evaluation])
    return store


def test_offspring_are_grouped_by_distance() -> None:
    groups = strides.strides([filled(MemoryStore()), filled(MemoryStore())])
    found = {group.nearest: (group.judged, group.core_seconds, group.scored, group.better) for group in groups}
    assert found == {
        0.0: (2, 10.0, 2, 0),
        0.1: (0, 0, 0, 0),
        0.2: (0, 0, 0, 0),
        0.3: (0, 0, 0, 0),
        0.4: (0, 0, 0, 0),
        0.5: (2, 6.0, 2, 2),
        0.6: (2, 8.0, 2, 2),
        0.8: (2, 12.0, 0, 0),
    }
    assert groups[-1].farthest is None


def test_the_command_prints_and_writes_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = tmp_path / "runs.db", tmp_path / "strides.json"
    with open_storage(path) as store:
        filled(store)  # type: ignore[arg-type]  # any store
    monkeypatch.setattr(sys, "argv", ["strides", str(path), "-o", str(output)])
    strides.main()
    assert "1 runs" in capsys.readouterr().out
    document = json.loads(output.read_text())
    assert document["runs"] == 1 and sum(group["judged"] for group in document["groups"]) == 4


def test_the_recorded_table_says_what_the_specification_says() -> None:
    root = Path(__file__).parent.parent
    document = json.loads((root / "benchmarks" / "results" / "strides.json").read_text())
    groups = document["groups"]
    better, best = (sum(g["better"] for g in groups if g["nearest"] >= least) for least in (0.0, 0.3))
    assert document["runs"] == 8 and document["better"] == 0.02
    page = (root / "docs" / "SCIENCE.md").read_text()
    for group in groups:
        judged, scored, better_ones = group["judged"], group["scored"], group["better"]
        assert f" | {judged:,} | {group['core_seconds']:,.0f} | {scored} | {better_ones} |" in page
    text = " ".join((root / "docs" / "SPEC.md").read_text().split())
    assert f"of the {better} offspring in eight runs that were better than their parent by two points" in text
    assert f"after 100 steps, {best} were at a distance of 0.3 or more" in text
