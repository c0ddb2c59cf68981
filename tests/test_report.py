"""The report: what is gathered of a run, and the page that it becomes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.report_page import synthetic
from evonas.language.graph import Graph
from evonas.records.memory_store import MemoryStore
from evonas.records.results import best_by_family
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunStatus
from evonas.records.time_breakdown import breakdown
from evonas.report.funnel import funnel
from evonas.report.page import page
from evonas.report.report_data import Report, read_report
from evonas.report.times import clocks
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig
from tests.fakes import ANCHORS, FakeExecutor, config
from tests.test_evolution import searched

SECTIONS = ["progress", "layers", "families", "front", "filters", "time", "family", "settings"]


@pytest.fixture(scope="module")
def store() -> MemoryStore:
    found, _ = searched(config(budget=60), FakeExecutor(4), ["bn-relu", "evonorm-s0"])
    return found


@pytest.fixture(scope="module")
def report(store: MemoryStore) -> Report:
    return read_report(store, 1, top=3)


class Parsed(HTMLParser):
    """A page's tags, checked for balance, and the text of its scripts."""

    VOID = ("meta", "br", "rect", "path", "polygon", "circle", "mspace", "col", "img", "line")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        return sum(t == tag and all(a.get(k) == v for k, v in attributes.items()) for t, a in self.tags)

    @property
    def data(self) -> dict[str, object]:
        found = json.loads(self.scripts[0])
        assert isinstance(found, dict)
        return found


def test_what_is_gathered_agrees_with_the_store(store: MemoryStore, report: Report) -> None:
    scored = [e for e in store.evaluations(1) if e.status is Status.SCORED]
    assert [point.index for point in report.points] == [e.index for e in scored]
    assert [point.values for point in report.points] == [tuple(e.scores[a] for a in ANCHORS) for e in scored]
    for point in report.points:
        beaten = any(
            all(b >= a for a, b in zip(point.values, o.values, strict=True)) and o.values != point.values  # type: ignore[operator]
            for o in report.points
        )
        assert point.front is not beaten
    assert {top.row.id for top in report.top} == {row.id for row in best_by_family(store, 1, 3)}
    assert report.top[0].row.mean == max(e.mean for e in scored)
    assert report.steps[-1].best == report.top[0].row.mean
    assert report.steps[-1].core_seconds == pytest.approx(sum(e.core_seconds for e in store.evaluations(1)))
    assert [one.name for one in report.published] == sorted(
        ("bn-relu", "evonorm-s0"), key=lambda name: -sum(store.run(1).references[name].values())
    )


def test_every_proposal_ends_at_one_filter_or_goes_on(store: MemoryStore) -> None:
    summary = store.summary(1)
    filters = funnel(summary)
    cheap = [f for f in filters if f.cheap]
    assert cheap[0].judged == summary.candidates + sum(summary.discarded.values())
    assert cheap[-1].judged - cheap[-1].rejected == summary.candidates
    for one, other in pairwise(cheap):
        assert one.judged - one.rejected == other.judged
    assert all(f.meaning for f in filters)


def test_every_clock_adds_up(store: MemoryStore) -> None:
    run, summary = store.run(1), store.summary(1)
    core, workers, coordinator = clocks(breakdown(run, summary))
    assert core.total == pytest.approx(
        sum(summary.drawing.values())
        + sum(summary.training.values())
        + sum(f.seconds for f in summary.filters.values())
    )
    assert workers.total == pytest.approx(run.times["available"])
    assert coordinator.total == pytest.approx(run.elapsed, abs=1e-3)  # the elapsed time is read a moment earlier
    assert all(part.seconds > 0 for clock in (core, workers, coordinator) for part in clock.parts)


def test_the_page_holds_every_part(report: Report) -> None:
    text = page(report)
    parsed = Parsed(text)
    assert [a["id"] for t, a in parsed.tags if t == "section"] == SECTIONS
    linked = [a["href"] for t, a in parsed.tags if t == "a"]
    assert linked == [f"#{section}" for section in SECTIONS]
    assert parsed.count("article") == 3
    assert all(one.row.family in text for one in report.top)
    assert parsed.count("svg", **{"class": "graph"}) == 3
    assert parsed.count("math") == 4  # the formula of the best layer is also at the top
    assert parsed.count("pre") == 3
    assert parsed.count("div", **{"data-chart": "response"}) == 3
    assert parsed.count("svg", **{"class": "lanes"}) == len(report.tree) + sum(
        row.parent is not None for row in report.tree
    )
    for top in report.top:
        assert f"layer {top.row.id}" in text
        assert "traffic   forward" in text
    points = parsed.data["points"]
    assert isinstance(points, dict)
    assert points["index"] == [point.index for point in report.points]
    assert sum(points["front"]) == sum(point.front for point in report.points)


def test_the_page_asks_for_nothing_from_anywhere(report: Report) -> None:
    text = page(report)
    names = {"http://www.w3.org/1998/Math/MathML", "http://www.w3.org/2000/svg"}  # identifiers, never fetched
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= names
    parsed = Parsed(text)
    assert not [t for t, a in parsed.tags if t in ("link", "img", "iframe", "object", "base") or "src" in a]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import\(|\bon\w+=\"", text)


EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def test_what_comes_from_outside_is_escaped() -> None:
    """Names and reasons come from configurations, workers and other people's databases."""
    space = replace(evonorm, name=EVIL)
    store = MemoryStore()
    run = store.create_run(RunConfig(space, protocol=EvaluationProtocol(anchors=(EVIL,))), {"processor": EVIL})
    origin = Origin(OriginKind.MUTATION, 0, (EVIL,))
    drawn = [
        Candidate(0, Graph.parse("x * x"), "a", "a", Origin(OriginKind.RANDOM), {EVIL: 2}, {"sampling": 1.0}),
        Candidate(1, Graph.parse("x / std_wh(x)"), "b", "b", origin),
        Candidate(2, Graph.parse("tanh(x)"), "c", "c", Origin(OriginKind.RANDOM)),
    ]
    passed, fell = FilterOutcome(EVIL, True, "", 1.0, 1.0), FilterOutcome(EVIL, False, EVIL, 1.0, 1.0)
    judged = [Evaluation(i, Status.SCORED, {EVIL: 0.5 + i / 10}, {}, (passed,), {EVIL: 1.0}) for i in range(2)]
    judged.append(Evaluation(2, Status.REJECTED, filters=(fell,)))
    store.record(run.id, candidates=drawn, evaluations=judged, status=RunStatus.FINISHED)
    store.record_reference(run.id, EVIL, {EVIL: 0.4})
    text = page(read_report(store, run.id))
    assert "<script>alert" not in text
    assert "<img" not in text
    parsed = Parsed(text)
    assert parsed.count("script") == 2  # the data and the code
    assert parsed.data["anchors"] == [EVIL]


@pytest.mark.parametrize("status", [None, Status.REJECTED, Status.FAILED])
def test_a_run_without_a_scored_layer_has_a_page(status: Status | None) -> None:
    store = MemoryStore()
    run = store.create_run(config(), {})
    if status is not None:
        candidate = Candidate(0, Graph.parse("x * x"), "a", "a", Origin(OriginKind.RANDOM))
        store.record(run.id, candidates=[candidate], evaluations=[Evaluation(0, status)])
    text = page(read_report(store, run.id))
    assert "No layer scored yet" in text
    assert "The run was not over" in text
    Parsed(text)


def test_numbers_that_are_none_leave_gaps() -> None:
    """A diverged training has a score of 0, and a damaged or foreign record may have none at all."""
    store = MemoryStore()
    run = store.create_run(
        RunConfig(evonorm, protocol=EvaluationProtocol(anchors=("wide",), objectives=("wide", "size"))), {}
    )
    drawn = [Candidate(i, Graph.parse("x * x"), f"{i}", f"{i}", Origin(OriginKind.RANDOM)) for i in range(2)]
    judged = [Evaluation(i, Status.SCORED, {"wide": s}, {"size": 3.0}) for i, s in enumerate((0.5, nan))]
    store.record(run.id, candidates=drawn, evaluations=judged)
    parsed = Parsed(page(read_report(store, run.id)))
    points = parsed.data["points"]
    assert isinstance(points, dict)
    assert points["values"] == [[0.5, None], [3.0, 3.0]]
    assert parsed.data["axes"] == [{"label": "wide", "up": True}, {"label": "size (nodes)", "up": False}]


def test_trainings_after_the_search_stand_beside_the_baselines() -> None:
    store, run = searched(config(budget=30), FakeExecutor(1), ["bn-relu"])
    best = read_report(store, run.id, 1).top[0]
    index = int(best.row.id.partition("/")[2])
    for layer, base in ((index, 0.8), ("bn-relu", 0.7)):
        for seed in range(3):
            for anchor in ANCHORS:
                one = Retraining(layer, RetrainingStage.HELD_OUT, anchor, seed, 60, 0.2, base + 0.01 * seed, 1.0)
                store.record_retraining(run.id, one)
    # A shorter training, which must not be mixed with them.
    store.record_retraining(run.id, Retraining(index, RetrainingStage.HELD_OUT, ANCHORS[0], 9, 10, 0.2, 0.1, 1.0))
    found = read_report(store, run.id, 1)
    sample = found.top[0].scores.samples[RetrainingStage.HELD_OUT]
    assert sample.by_seed == pytest.approx({0: 0.8, 1: 0.81, 2: 0.82})
    text = page(found)
    assert "held-out training images" in text
    assert "95% interval" in text
    assert "trained again, scored on held-out images, 3 seeds: <b>0.810</b> against <b>0.710</b> of bn-relu" in text
    searched_only, _ = searched(config(budget=30), FakeExecutor(1), ["bn-relu"])
    assert "separates skill from luck" in page(read_report(searched_only, 1, 1))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5 to 1, in both colour schemes."""
    from importlib.resources import files

    css = (files("evonas.report") / "templates" / "report.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", css, re.S)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))
    colours |= {"accent": colours["c0"]}

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    pairs = [(a, b) for a in ("ink", "muted") for b in ("bg", "card", "soft")]
    pairs += [(a, "card") for a in ("up", "down", "del", "ins", "accent", "c0", "c1", "c2", "c3", "c4", "c5")]
    pairs += [("ink", b) for b in ("stat", "param", "io", "accent-soft")]
    for a, b in pairs:
        low, high = sorted((luminance(colours[a]), luminance(colours[b])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, f"{a} on {b}"


def test_a_large_run_stays_a_moderate_page() -> None:
    store = MemoryStore()
    run_id = synthetic(store, 400)
    text = page(read_report(store, run_id))
    # Under 150 bytes a candidate beyond what a small run takes: 5,000 of them stay under a megabyte.
    assert len(text.encode()) < 120_000 + 400 * 150
    assert len(Parsed(text).data["points"]["index"]) == 400  # type: ignore[index]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_progress_is_that_of_all_scores_so_far(scores: list[tuple[int, int]]) -> None:
    from evonas.report.progress import progress

    judged = [
        Evaluation(i, Status.SCORED, {"a": a / 4, "b": b / 4}, seconds={"a": 1.0}) for i, (a, b) in enumerate(scores)
    ]
    steps = progress(judged, ("a", "b"))
    last = steps[-1]
    assert last.judged == len(scores)
    assert last.core_seconds == len(scores)
    assert last.anchors == (max(a for a, _ in scores) / 4, max(b for _, b in scores) / 4)
    assert last.best == max(a + b for a, b in scores) / 8
    # The unit square in cells of a quarter: those under at least one of the scores.
    covered = sum(any(i < a and j < b for a, b in scores) for i in range(4) for j in range(4))
    assert last.hypervolume == pytest.approx(covered / 16)
    for name in ("judged", "core_seconds", "hypervolume", "best"):
        values = [getattr(step, name) for step in steps]
        assert values == sorted(values)
