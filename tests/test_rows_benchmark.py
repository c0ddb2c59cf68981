"""The benchmark of layers for tokens on a CPU, and what docs/SPEED.md says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rows_cpu import NAMED, WIDTHS, table
from evonas.kernels.cpp.build import compiler

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_it_measures_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = [sys.executable, "-m", "benchmarks.rows_cpu", "--width", "4096", "--random", "1", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--threads", "1", "-o", str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(file.read_text())
    assert [row["layer"] for row in document["rows"]][:4] == list(NAMED) and len(document["rows"]) == 7
    assert all(row["forward"] > 0.0 and row["both"] > 0.0 for row in document["rows"])
    assert "\n".join(table(document)) in done.stdout


def test_the_page_has_its_table() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "rows_cpu.json").read_text())
    assert {row["width"] for row in document["rows"]} == set(WIDTHS) and len(document["layers"]) == 24
    assert "\n".join(table(document)) in (ROOT / "docs" / "SPEED.md").read_text()


def test_the_page_has_the_range_of_layernorm() -> None:
    document = json.loads((ROOT / "benchmarks" / "results" / "rows_cpu.json").read_text())
    both = [row["both"] for row in document["rows"] if row["layer"] == "layernorm"]
    assert f"lie between {min(both):.2f} and {max(both):.2f}." in (ROOT / "docs" / "SPEED.md").read_text()
