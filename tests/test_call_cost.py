"""The benchmark of a call's cost runs, and says what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent


def test_every_contender_is_measured_in_every_way(tmp_path: Path) -> None:
    file = tmp_path / "cost.json"
    # In a process of its own, because there kernels are no longer launched.
    command = [sys.executable, "-m", "benchmarks.call_cost", "--layer", "dyt", "--repeats", "1", "-o", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200)
    document = json.loads(file.read_text())
    assert [row["way"] for row in document["rows"]] == ["evaluation", "training", "training and backward"]
    for row in document["rows"]:
        assert {"BatchNorm2d", "BatchNorm2d, ReLU"} < set(row["seconds"]) and min(row["seconds"].values()) > 0
        assert {name: row["seconds"][name] / row["seconds"]["BatchNorm2d"] for name in row["ratios"]} == row["ratios"]
        kernels = {"triton"} if torch.cuda.is_available() else {"triton, no launch"}
        assert kernels <= set(row["ratios"])
    assert torch.cuda.is_available() or "not measured" in done.stdout
