"""What filters turn away that would have been good: whom the benchmark draws, and what it says of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import training_rows, turned_away
from benchmarks.discovery.testing import Yardstick
from benchmarks.training_rows import Row, read
from benchmarks.turned_away import REFERENCE, SCORED, Drawn, drawn, groups, learners, table
from evonas.evolution.executor import Task
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.setup.assemble import open_storage
from tests.fakes import ANCHORS, FakeExecutor, config
from tests.test_evolution import searched

BY = Yardstick("as long", EvaluationProtocol(anchors=ANCHORS), None, 1)


def row(layer: str, anchor: str, score: float) -> Row:
    return Row(layer, BY.task, anchor, 0, score, False, 1.0)


def test_some_of_each_ending_are_drawn_and_the_same_ones_each_time() -> None:
    store, run = searched(config(budget=60), FakeExecutor(2))
    ends = dict[str, set[str]]()
    for candidate, evaluation in zip(store.candidates(run.id), store.evaluations(run.id), strict=True):
        if evaluation.status is not Status.FAILED:
            ends.setdefault(evaluation.stopped_by or SCORED, set()).add(candidate.graph.canonical.expression())
    found = drawn(store, run.id, 5)
    assert [one.ended for one in found] == ["quality", SCORED] and found == drawn(store, run.id, 5)
    for one in found:
        assert one.candidates == len(ends[one.ended]) > 5
        assert len(set(one.layers)) == 5 and set(one.layers) <= ends[one.ended]
    assert set(drawn(store, run.id, 1000)[0].layers) == ends["quality"]


def test_layers_that_do_not_learn_on_the_first_network_count_as_such_whatever_they_have_on_others() -> None:
    first, second = ANCHORS
    rows = [row(REFERENCE, first, 0.4), row(REFERENCE, second, 0.2)]
    rows += [row("good", first, 0.2), row("good", second, 0.5), row("slow", first, 0.3), row("slow", second, 0.1)]
    rows += [row("dead", first, 0.19), row("dead", second, 0.9), row("elsewhere", first, 0.9)]
    rows[-1] = Row("elsewhere", "another protocol", first, 0, 0.9, False, 1.0)
    assert learners(rows, BY) == {REFERENCE, "good", "slow"}
    (group,) = groups([Drawn("quality", 70, ("good", "slow", "dead", "elsewhere"))], rows, BY)
    assert (group.candidates, group.drawn, group.learned, group.better) == (70, 3, 2, 1)
    assert [group.best, group.mean] == pytest.approx([0.35, 0.275])
    (none,) = groups([Drawn("quality", 70, ("dead",))], rows, BY)
    assert (none.drawn, none.learned, none.better, none.best, none.mean) == (1, 0, 0, None, None)


def test_the_command_trains_only_learners_on_every_network_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rows, output = tmp_path / "run.db", tmp_path / "rows.jsonl", tmp_path / "found.json"
    memory, run = searched(config(budget=40), FakeExecutor(2))
    with open_storage(path) as store:
        copy = store.create_run(run.config, {})
        store.record(copy.id, candidates=list(memory.candidates(1)), evaluations=list(memory.evaluations(1)))

    def judge(task: Task) -> Evaluation:
        graph = Graph.from_json(task.graph)
        learns = graph.key == zoo[REFERENCE].key or len(graph.live) % 2
        return Evaluation(task.index, Status.SCORED, dict.fromkeys(task.protocol.anchors, 0.8 if learns else 0.1))

    made = list[FakeExecutor]()

    def make(*_: object, **__: object) -> FakeExecutor:
        made.append(FakeExecutor(2, judge=judge))
        return made[-1]

    monkeypatch.setattr(training_rows, "make_executor", make)
    monkeypatch.setattr(sys, "argv", ["turned_away", str(path), "--count", "6", "--rows", str(rows), "-o", str(output)])
    turned_away.main()
    trained = read(rows)
    first, second = ({one.layer for one in trained if one.anchor == anchor} for anchor in ANCHORS)
    assert len(first) == 13 and second == {one.layer for one in trained if one.score == 0.8} and 1 < len(second) < 13
    assert {one.seed for one in trained} == {turned_away.SEED}
    assert all(not task.filtered for executor in made for task in executor.submitted)
    document = json.loads(output.read_text())
    assert document["reference"] == pytest.approx(0.8) and document["steps"] == 100
    assert sum(group["learned"] for group in document["groups"]) == len(second) - 1
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:-1]))
    made.clear()
    turned_away.main()
    assert [len(executor.submitted) for executor in made] == [1] and json.loads(output.read_text()) == document


def test_the_page_says_what_was_recorded() -> None:
    root = Path(__file__).parent.parent
    document = json.loads((root / "benchmarks" / "results" / "turned_away.json").read_text())
    page = (root / "docs" / "SCIENCE.md").read_text()
    assert "\n".join(table(document)) in page
    text = " ".join(page.split())
    assert f"BN-ReLU has {document['reference']:.3f}" in text and f"{document['steps']} steps" in text
