"""The paper's protocol outside a search: the command trains what is missing, and says what it left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.full_size import FIRST_SEED, PUBLISHED, full_size, summary, table
from benchmarks.training_rows import Job, Row, read, task_of
from evonas.workers.trial.evaluate import evaluate_task, load_data

ROOT = Path(__file__).parent.parent
SMALL = {"data": "digits", "crop": None, "device": "cpu", "anchors": ["resnet-small"], "steps": 2, "batch": 8}
LAYER = "x * sigmoid(v1 * x)"


def command(folder: Path, *options: str) -> str:
    settings = [f"{key}={json.dumps(value)}" for key, value in SMALL.items()]
    line = [sys.executable, "-m", "benchmarks.full_size", "--data-dir", str(folder), "-o", str(folder / "out")]
    line += ["--layer", LAYER, "--seeds", "1", "--processes", "2", "--set", *settings, *options]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def test_the_command_trains_what_is_missing_once_and_as_a_worker_would(tmp_path: Path) -> None:
    printed = command(tmp_path)
    rows = read(tmp_path / "out" / "rows.jsonl")
    assert {row.layer for row in rows} == {*PUBLISHED, LAYER} and len(rows) == 5
    assert "not done" not in printed
    by = full_size(tmp_path, 1, {**SMALL, "anchors": ("resnet-small",)})
    protocol = replace(by.protocol, seed=FIRST_SEED)
    alone = evaluate_task(task_of(Job(LAYER, by.task, protocol), 0), load_data(protocol))
    (mine,) = [row for row in rows if row.layer == LAYER]
    assert mine.score == round(alone.scores["resnet-small"], 6)
    command(tmp_path)
    assert read(tmp_path / "out" / "rows.jsonl") == rows


def test_what_time_did_not_allow_is_said(tmp_path: Path) -> None:
    assert "5 of 5 trainings not done; the same command continues there" in command(tmp_path, "--minutes", "0")
    found = json.loads((tmp_path / "out" / "full_size.json").read_text())
    assert found["layers"][LAYER]["mean"] is None


def test_layers_are_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    by = full_size(tmp_path, 3, {"data": "digits", "crop": None, "anchors": ("resnet50@0.25",)})
    rows = [Row("bn-relu", by.task, "resnet50@0.25", seed, 0.5 + 0.01 * seed, False, 1.0) for seed in range(3)]
    rows += [Row(LAYER, by.task, "resnet50@0.25", seed, 0.6 + 0.011 * seed, False, 1.0) for seed in range(2)]
    found = summary(rows, ["bn-relu", LAYER], by)
    first, *others = found["comparisons"][LAYER]
    assert first["published"] == "bn-relu" and first["pairs"] == 2
    assert first["difference"] == pytest.approx(0.1005)
    assert all(one["difference"] is None for one in others)
    assert found["layers"]["bn-relu"]["seeds"] == 3


def test_the_page_has_what_was_measured_on_a_gpu() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "full_size.json").read_text())
    assert "H100" in document["environment"]["gpus"]
    assert "\n".join(table(document)) in (ROOT / "docs" / "SCIENCE.md").read_text()
