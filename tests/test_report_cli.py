"""The commands `evonas report`, `plot` and `compare`."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from evonas.db.connect import open_store
from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunStatus
from evonas.report.pictures import PICTURES
from evonas.report.run_comparison import compare_runs
from evonas.settings.candidate import Evaluation
from tests.fakes import ANCHORS, FakeExecutor, config, outcome
from tests.test_cli import Call, call  # noqa: F401  a fixture


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in seed and strategy, and one that has judged nothing."""
    path = tmp_path_factory.mktemp("report") / "runs.db"
    with open_store(str(path)) as store:
        for settings in (config(budget=30), config(budget=20, seed=5, strategy="random")):
            run = store.create_run(settings, {})
            assert Search(run, store, FakeExecutor(2), (), ["bn-relu"]).execute() is RunStatus.FINISHED
        store.create_run(config(), {})
    return path


def test_report(call: Call, database: Path, tmp_path: Path) -> None:  # noqa: F811
    target = tmp_path / "report.html"
    code, out, _ = call("report", "1", "-o", target, "--top", 2, "--storage", database)
    assert (code, out) == (0, f"wrote {target}\n")
    text = target.read_text()
    assert text.startswith("<!doctype html>") and text.count("<article") == 2
    code, _, errors = call("report", "1", "-o", target, "--storage", database)
    assert code == 2 and "--force" in errors
    assert call("report", "2", "-o", target, "--force", "--storage", database)[0] == 0
    assert "run 2" in target.read_text()


@pytest.mark.parametrize("what", ["tree", "scores", "response", "layer"])
def test_plot(call: Call, database: Path, tmp_path: Path, what: str) -> None:  # noqa: F811
    svg, png = tmp_path / "picture.svg", tmp_path / "picture.png"
    assert call("plot", "1", what, "-o", svg, "--storage", database)[0] == 0
    drawn = ElementTree.parse(svg).getroot()
    assert drawn.tag.endswith("svg") and len(list(drawn.iter())) > 30
    if what == "tree":  # one shows that both formats are written
        assert call("plot", "1", what, "-o", png, "--storage", database)[0] == 0
        assert Image.open(png).size[0] > 500


def test_plot_says_what_is_in_the_picture(call: Call, database: Path, tmp_path: Path) -> None:  # noqa: F811
    def texts(*arguments: object) -> str:
        target = tmp_path / "picture.svg"
        assert call("plot", "1", *arguments, "-o", target, "--force", "--storage", database)[0] == 0
        return target.read_text()

    assert set(PICTURES) == {"progress", "filters", "time", "front", "tree", "scores", "response"}
    progress = texts("progress")
    assert all(name in progress for name in (*ANCHORS, "mean", "bn-relu", "hypervolume"))
    assert "structural" in texts("filters")
    assert "training deep" in texts("time")
    assert texts("front", "--across", "deep", "--up", "wide") != texts("front")
    assert "1/3 " in texts("layer", "--candidate", 3)


def test_compare(call: Call, database: Path) -> None:  # noqa: F811
    first, second = call.json("compare", 1, 2, "--storage", database)
    assert first["settings"] == {"budget": 30, "seed": 3, "strategy": "pareto"}
    assert second["settings"] == {"budget": 20, "seed": 5, "strategy": "random"}
    assert (first["candidates"], second["candidates"], first["after"]) == (30, 20, None)
    assert first["compute"] == second["compute"] == min(first["core_seconds"], second["core_seconds"])
    status = call.json("status", 1, "--storage", database)
    assert first["scored"] == status["evaluations"]["scored"]
    assert first["mean"] == call.json("best", 1, "--storage", database)[0]["mean"]
    assert first["per_core_minute"] == pytest.approx(60 * 30 / first["core_seconds"])
    lesser = min((first, second), key=lambda run: run["core_seconds"])
    # The run that spent the least is compared as it ended.
    assert lesser["mean_then"] == lesser["mean"]
    assert 0 < lesser["hypervolume"] <= 1
    code, out, _ = call("compare", 1, 2, "--storage", database)
    assert code == 0
    assert all(word in out for word in ("pareto", "random", "hypervolume", "best deep"))


def test_runs_with_the_same_settings_are_compared_after_as_many_candidates() -> None:
    """They judge the same candidates; that one machine took longer says nothing about what they found."""
    store, settings = MemoryStore(), config(budget=20)
    for slower in (1.0, 3.0):
        run = store.create_run(settings, {})

        def judge(task: Task, slower: float = slower) -> Evaluation:
            found = outcome(task)
            return replace(found, seconds={name: slower * spent for name, spent in found.seconds.items()})

        assert Search(run, store, FakeExecutor(1, judge=judge)).execute() is RunStatus.FINISHED
    one, other = compare_runs(store, [1, 2])
    assert one.core_seconds < other.core_seconds and one.settings == other.settings == {}
    assert one.after == other.after == 20
    assert (one.mean_then, one.hypervolume) == (other.mean_then, other.hypervolume)
    assert one.mean_then == one.mean


def test_compare_with_a_run_that_has_judged_nothing(call: Call, database: Path) -> None:  # noqa: F811
    _, empty = call.json("compare", 1, "last", "--storage", database)
    assert (empty["candidates"], empty["mean"], empty["mean_then"], empty["best"]) == (0, None, None, {})
    assert call("compare", 1, 3, "--storage", database)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("report", "9", "-o", "a.html"), "no run 9"),
        (("report", "1", "-o", "a.html", "--top", "0"), "top must be between"),
        (("report", "1", "-o", "no/such/folder/a.html"), "cannot write"),
        (("plot", "1", "curve", "-o", "a.svg"), "unknown picture 'curve'"),
        (("plot", "1", "progress", "-o", "a.pdf"), ".svg or a .png"),
        (("plot", "1", "progress", "-o", "no/such/folder/a.svg"), "cannot write"),
        (("plot", "1", "progress", "-o", "a.svg", "--candidate", "1"), "--candidate is only for"),
        (("plot", "1", "front", "-o", "a.svg", "--across", "wide"), "name both axes"),
        (("plot", "1", "front", "-o", "a.svg", "--across", "wide", "--up", "size"), "unknown axis 'size'"),
        (("plot", "1", "layer", "-o", "a.svg", "--candidate", "99"), "no candidate 99"),
        (("plot", "3", "progress", "-o", "a.svg"), "no scored layer"),
        (("plot", "3", "layer", "-o", "a.svg"), "no scored layer"),
        (("compare", "1"), "at least two"),
        (("compare", "1", "1"), "at least two"),
        (("compare", "1", "8"), "no run 8"),
    ],
)
def test_bad_requests(
    call: Call,  # noqa: F811
    database: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    match: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = call(*arguments, "--storage", database)
    assert code == 2
    assert match in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())
