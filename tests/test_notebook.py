"""What notebooks show: formulas, trees and scores as HTML, and a display that is replaced while a search runs."""

from __future__ import annotations

import html
import io
import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import given, settings
from rich.console import Console
from rich.text import Text

import evonas
from evonas.display.live_display import LiveDisplay
from evonas.display.progress import training_bar
from evonas.display.screen import as_html
from evonas.front import api
from evonas.language.graph import Graph, GraphBuilder
from evonas.language.graph_html import tree_html
from evonas.language.leaf import LEAVES, constant_name
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.swapping.swap_report import Action, NormOutcome
from tests.fakes import FakeExecutor, config
from tests.strategies import graphs
from tests.test_evolution import searched

LEAF_NAMES = {(leaf.text if leaf.value else leaf.name): leaf.name for leaf in LEAVES}
REAL = evonas.EvaluationProtocol(anchors=("resnet-small",))
EVIL = "</code><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def found() -> evonas.Result:
    settings = config(budget=40, strategy="families", rungs=(2,), promotion=0.3)
    store, run = searched(settings, FakeExecutor(2), ["bn-relu"])
    return evonas.Result(store, run.id)


def parsed(shown: Any) -> ElementTree.Element:
    """What an object looks like in a notebook: HTML that closes what it opens, runs nothing and asks for nothing."""
    text = str(shown._repr_html_())
    root = ElementTree.fromstring(text)
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text))
    assert addresses <= {"http://www.w3.org/1998/Math/MathML"}  # an identifier, never fetched
    for one in root.iter():
        assert one.tag.rpartition("}")[2] not in ("script", "img", "link", "style", "iframe", "object")
        assert not [name for name in one.attrib if name.startswith("on") or name in ("src", "href")]
    return root


def words(root: ElementTree.Element) -> str:
    return " ".join("".join(root.itertext()).split())


def maths(root: ElementTree.Element) -> int:
    return sum(one.tag.endswith("}math") for one in root.iter())


def read_back(tree: ElementTree.Element) -> Graph:
    """The graph that a tree draws."""
    builder, named = GraphBuilder(), {}

    def grow(item: ElementTree.Element) -> int:
        leaf = item.find("code")
        if leaf is not None:
            text = str(leaf.text)
            return builder.add(LEAF_NAMES[text] if text in LEAF_NAMES else constant_name(float(text)))
        inside = item.find("div")
        assert inside is not None
        op, below = inside.find("code"), inside.find("ul")
        assert op is not None
        mark = re.fullmatch(r" \[(\d+)\]| \(see (\d+)\)|", op.tail or "")
        assert mark is not None
        if mark[2]:
            return named[mark[2]]
        assert below is not None
        made = builder.add(str(op.text), *(grow(one) for one in below))
        if mark[1]:
            named[mark[1]] = made
        return made

    return builder.build(grow(tree[0]))


@given(graphs())
@settings(max_examples=30, deadline=None)
def test_the_tree_of_a_graph_is_the_graph(graph: Graph) -> None:
    root = parsed(graph)
    assert graph.written(300) in "".join(root.itertext())
    tree = ElementTree.fromstring(tree_html(graph))
    assert read_back(tree).canonical == graph.canonical
    marks = re.findall(r"\[(\d+)\]", "".join(tree.itertext()))
    assert marks == [str(place + 1) for place in range(len(marks))]


def test_a_layer_shows_its_formula_its_settings_and_what_it_learns() -> None:
    layer = evonas.NormAct("evonorm-s0", channels=8, groups=4)
    root = parsed(layer)
    assert maths(root) == 1
    for word in ("channels 8, eps=1e-05, affine=True, groups=4", "weight (8,), bias (8,), v1 (8,)", "tree"):
        assert word in words(root)
    assert "learns nothing" in words(parsed(evonas.NormAct("tanh(x)", channels=8, affine=False)))


def test_a_formula_that_would_fill_pages_is_left_out() -> None:
    nodes: list[list[object]] = [["add", [0, 2]], *([["mul", [3 + i, 3 + i]] for i in range(1, 120)])]
    graph = Graph.from_json({"nodes": nodes})
    root = parsed(graph)
    assert maths(root) == 0 and "a graph of 122 nodes" in words(root)
    assert len(list(ElementTree.fromstring(tree_html(graph)).iter("ul"))) == 121, "each value is written out once"


def test_a_candidate_shows_its_formula_its_family_and_its_scores(found: evonas.Result) -> None:
    row = next(one for one in found.best() if one.longer)
    root = parsed(row)
    assert maths(root) == 1 and f"layer {row.id}" in words(root) and row.family in words(root)
    head, cells = (["".join(cell.itertext()) for cell in line] for line in root.iter("tr"))
    assert dict(zip(head, cells, strict=True)) == {
        name: f"{score:.3f}"
        for name, score in {"mean": row.mean, **row.scores, **{f"{n} steps": s for n, s in row.longer.items()}}.items()
    }


def test_a_result_says_first_what_is_verified(found: evonas.Result) -> None:
    root = parsed(found)
    assert [one.tag for one in root] == ["p", "p", "div", "table"]
    assert root[1].text == str(found).splitlines()[-1]
    assert maths(root) == 1


def test_a_report_is_shown_in_a_frame_of_its_own(found: evonas.Result, tmp_path: Any) -> None:
    page = found.report(tmp_path / "report.html", top=1)
    assert (tmp_path / "report.html").read_text() == page
    (frame,) = re.findall(r'^<iframe srcdoc="([^"]*)"', page._repr_html_())
    assert html.unescape(frame) == page
    with pytest.raises(evonas.UsageError, match="cannot write"):
        found.report(tmp_path / "no" / "report.html")


def test_a_swap_shows_a_line_for_each_normalisation() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.InstanceNorm2d(4))
    report = evonas.swap(model, "evonorm-s0")
    rows = list(parsed(report).iter("tr"))[1:]
    assert [words(row[0]) for row in rows] == [one.name for one in report.norms]
    assert [words(row[3]) for row in rows] == [one.action.value for one in report.norms]


def test_a_ranking_and_a_verdict_show_every_layer() -> None:
    store, run = searched(config(budget=30, protocol=REAL), FakeExecutor(1), ["bn-relu"])
    asked = {"executor": FakeExecutor(1), "top": 3, "report": 2, "seeds": 3, "transfer": None}
    ranking = evonas.rerank(run.id, storage=store, references=["bn-relu"], **asked)  # type: ignore[arg-type]
    rows = list(parsed(ranking).iter("tr"))
    assert [words(cell) for cell in rows[0]] == ["id", "expression", "name", "search", "held-out", "test"]
    assert [words(row[0]) for row in rows[1:]] == [one.id for one in (*ranking.layers, *ranking.references)]
    mean = ranking.layers[0].samples[RetrainingStage.TEST].mean
    assert words(rows[1][5]).startswith(f"{mean:.3f} ± ") and words(rows[3][5]) == ""
    verdict = evonas.Result(store, run.id).verdict
    assert verdict is not None
    shown = parsed(verdict)
    assert words(shown).startswith(" ".join(str(verdict).split()))
    assert [words(row[0]) for row in list(shown.iter("tr"))[1:]] == [one.layer.id for one in verdict.finalists]


def test_text_of_others_is_text() -> None:
    """Names of modules come from users' models, and reasons of failures from other people's databases."""
    norm = NormOutcome(EVIL, EVIL, Action.KEPT, EVIL, EVIL, (EVIL,), certain=False)
    report = evonas.SwapReport(torch.nn.Identity(), EVIL, [norm], [EVIL])
    assert words(parsed(report)).count(EVIL) == 7
    store, run = searched(config(budget=30, protocol=REAL), FakeExecutor(1), ["bn-relu"])
    lost = Retraining("bn-relu", RetrainingStage.HELD_OUT, "resnet-small", 1000, 2 * REAL.steps, 0.2, 0.0, 1.0, EVIL)
    store.record_retraining(run.id, lost)
    asked = {"executor": FakeExecutor(1), "top": 1, "seeds": 1, "transfer": None}
    ranking = evonas.rerank(run.id, storage=store, references=["bn-relu"], **asked)  # type: ignore[arg-type]
    assert words(parsed(ranking)).count(EVIL) == 1


class FakeOutput:
    """An output of a cell, as IPython gives one that can be replaced."""

    shown: list[str]

    def __init__(self) -> None:
        self.shown = []

    def display(self, content: dict[str, str], *, raw: bool, display_id: bool) -> FakeOutput:
        assert raw and display_id
        self.shown.append(content["text/html"])
        return self

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(content["text/html"])


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> FakeOutput:
    fake, module = FakeOutput(), ModuleType("IPython.display")
    module.display = fake.display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    return fake


def test_a_notebook_shows_a_search_that_is_replaced_and_taken_away(output: FakeOutput) -> None:
    store = MemoryStore()
    run = store.create_run(config(budget=30), {})
    console = Console(file=io.StringIO(), force_jupyter=True)
    with LiveDisplay(run, store, console) as display:
        api.execute(run, store, FakeExecutor(3), [display], references=("bn-relu",))
        display.show()
    with training_bar(console, "verifying") as bar:
        bar.tick(4)
        bar.tick(1)
    last = [place for place, shown in enumerate(output.shown) if shown == ""]
    assert last[-1] == len(output.shown) - 1, "nothing is left of it"
    pages = [words(ElementTree.fromstring(shown)) for shown in output.shown if shown]
    assert "0/30" in pages[0] and any("30/30" in page and "bn-relu" in page for page in pages)
    assert "verifying" in pages[-2] and "0/4" in pages[-2] and "3/4" in pages[-1]


def test_what_a_notebook_shows_of_a_terminal_is_escaped() -> None:
    shown = as_html(Text(EVIL, style="bold red"))
    assert "<script" not in shown and "<img" not in shown and words(ElementTree.fromstring(shown)) == EVIL


@pytest.mark.parametrize(
    ("progress", "terminals", "shows"),
    [
        (None, (), False),
        (None, ("stderr",), False),
        (None, ("stdout",), False),
        (None, ("stdout", "stderr"), True),
        (False, ("stdout", "stderr"), False),
        (True, (), True),
    ],
)
def test_a_script_shows_a_bar_where_someone_looks(
    progress: bool | None, terminals: tuple[str, ...], shows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("stdout", "stderr"):
        stream = io.StringIO()
        is_terminal: Callable[[], bool] = (lambda: True) if name in terminals else (lambda: False)
        stream.isatty = is_terminal  # type: ignore[method-assign]
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert (api._console(progress) is not None) is shows


@pytest.mark.parametrize("progress", [None, True])
def test_a_search_from_python_is_silent_in_a_pipe_unless_asked(
    progress: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    settings: dict[str, Any] = {"references": (), "finalists": 0, "executor": FakeExecutor(1)}
    evonas.search(budget=3, storage=MemoryStore(), progress=progress, **settings)
    out, err = capsys.readouterr()
    assert out == "" and ("0 of 3 judged" in err and "3 of 3 judged" in err) is (progress is True)
    assert err == "" or progress
