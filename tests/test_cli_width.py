"""What commands print fits into 80 and into 60 columns, and has no colours where no one sees them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from evonas.cli import options
from evonas.cli.baseline import comparison_table
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import RetrainingStage
from evonas.reruns.baseline import Comparison
from evonas.reruns.rerank_cost import cost_of
from tests.fakes import ANCHORS, FakeExecutor, config
from tests.test_cli import Call, call, database  # noqa: F401  fixtures
from tests.test_evolution import searched

READ = ("runs", "status", "best", "pareto", "show 1/0", "zoo", "zoo evonorm-s0")
SEARCH = ["--budget", "8", "--steps", "2", "--anchor", "resnet-small", "--data", "digits", "--executor", "local"]
SEARCH += ["--seed-graph", "evonorm-s0"]
SETTINGS = ["finalists=2", "verify_seeds=2", "verify_steps=40", "references=['bn-relu']", "protocol.floors=absolute"]
SETTINGS += ["protocol.quality_floor=0.0", "protocol.early_steps=[]", "protocol.early_floors=[]"]
SEARCH += [f"--set={setting}" for setting in SETTINGS]


def narrow(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    for console in (options.console, options.stderr):
        monkeypatch.setattr(console, "_width", width)


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", READ)
def test_a_command_that_looks_fits(
    call: Call,  # noqa: F811
    database: Path,  # noqa: F811
    command: str,
    width: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, width)
    code, out, err = call(*command.split(), *([] if command.startswith("zoo") else ["--storage", database]))
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= width
    assert "\x1b" not in out and "…" not in out, "no colour in a pipe, and nothing is cut"


@pytest.mark.parametrize("width", [60, 80])
def test_an_expression_has_lines_of_its_own(
    call: Call,  # noqa: F811
    database: Path,  # noqa: F811
    width: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, width)
    lines = call("best", "--all", "--storage", database)[1].splitlines()
    known = call.json("best", "--all", "--storage", database)
    for row in known:
        at = next(place for place, line in enumerate(lines) if line.startswith(f" {row['id']} "))
        below = []
        for line in lines[at + 1 :]:
            if not line.startswith("    "):
                break
            below.append(line.strip())
        name = f"{row['name']}: " if row["name"] else ""
        assert "".join(below).replace(" ", "") == f"{name}{row['expression']}{row['family']}".replace(" ", "")
        shown = call("show", row["id"], "--storage", database)[1]
        assert "".join(shown.split()).startswith("".join(row["expression"].split()) + "id" + row["id"])


def test_a_search_and_its_verdict_fit(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    narrow(monkeypatch, 60)
    asked = ("--storage", tmp_path / "runs.db")
    code, out, err = call("search", *SEARCH, *asked)
    assert code == 0, err
    assert max(map(len, (out + err).splitlines())) <= 80  # lines of progress are short, but not broken
    assert out.count("rejected: ") == 1 and "8 of 8 judged" in out
    finalists = call.json("status", *asked)["verdict"]["finalists"]
    for width in (60, 80):
        narrow(monkeypatch, width)
        best = call("best", *asked)[1]
        table = best[best.index("finalists, trained again") :]
        assert max(map(len, best.splitlines())) <= width and "…" not in best
        assert table in out or width == 80
        heads = next(line for line in table.splitlines() if line.startswith(" id"))
        assert heads.split() == ["id", "held-out", "test", "transfer", "search"]
        for one in finalists:
            name = f"{one['name']}: " if one["name"] else ""
            assert f"{name}{one['expression']}".replace(" ", "") in "".join(table.split())


@pytest.mark.parametrize("width", [60, 80])
def test_layers_that_are_compared_fit(width: int) -> None:
    long = "max(x, 0) * sigmoid(v1 * x) / (std_whcg(x) + rms_wh(x) * sigmoid(x))"
    scores = {anchor: [0.5, 0.6] for anchor in ANCHORS}
    compared = [
        Comparison("bn-relu", scores, dict.fromkeys(ANCHORS, 1.0), []),
        Comparison(long, scores, dict.fromkeys(ANCHORS, 1.0), []),
        Comparison("tanh(x)", {anchor: [] for anchor in ANCHORS}, {}, ["wide, seed 1: out of memory"]),
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(comparison_table(compared, ANCHORS, "validation accuracy"))
    assert isinstance(console.file, io.StringIO)
    out = console.file.getvalue()
    assert max(map(len, out.splitlines())) <= width and "…" not in out
    for words in ("bn-relu", "0.550 ±0.071", "failed: wide, seed 1: out of memory"):
        assert words in out
    assert "".join(long.split()) in "".join(out.split())


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}])
def test_a_pipe_has_no_colour(database: Path, variables: dict[str, str]) -> None:  # noqa: F811
    """With NO_COLOR not on a terminal either, which FORCE_COLOR stands for: bold type is no colour."""
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    command = [sys.executable, "-m", "evonas", "best", "--storage", str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | variables)
    codes = [code for found in re.findall(r"\x1b\[([\d;]*)m", done.stdout) for code in found.split(";")]
    assert not [code for code in codes if len(code) > 1]  # 30 to 37 and 90 to 97 are colours
    assert bool(codes) is ("FORCE_COLOR" in variables)


def test_a_reranking_costs_what_its_trainings_took_so_far() -> None:
    """Of networks that were trained by their own seconds, of others by the mean of these."""
    store, run = searched(config(budget=30), FakeExecutor(1))
    steps = run.config.protocol.steps
    seconds = {
        anchor: [one.seconds[anchor] for _, one in store.best(run.id, 50)] for anchor in run.config.protocol.anchors
    }
    mean = {anchor: sum(found) / len(found) for anchor, found in seconds.items()}
    keys = [(0, RetrainingStage.HELD_OUT, anchor, seed, 3 * steps, 0.2) for anchor in ANCHORS for seed in range(4)]
    cost = cost_of(store, run, keys)
    assert cost.trainings == 8 and cost.core_seconds == pytest.approx(12 * sum(mean.values()))
    unseen = cost_of(store, run, [(0, RetrainingStage.TRANSFER, "other", 1, steps, 0.0)])
    assert unseen.core_seconds == pytest.approx(sum(mean.values()) / 2)
    assert str(unseen) == "at most 1 training, about 0.0 core-minutes"
    empty = MemoryStore()
    nothing = cost_of(empty, empty.create_run(config(), {}), keys)
    assert nothing.core_seconds is None and str(nothing) == "at most 8 trainings"
