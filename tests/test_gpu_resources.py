"""Every kernel of every published layer, as it is launched, compiles to machine code that spills no register."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evonas.kernels.triton.gpu_resources import ROW_SHAPES
from evonas.language.zoo import zoo

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("arch", "shapes"),
    [(90, 1), pytest.param(80, 12, marks=pytest.mark.slow), pytest.param(90, 12, marks=pytest.mark.slow)],
)
def test_no_kernel_of_the_zoo_spills(arch: int, shapes: int, tmp_path: Path) -> None:
    # In a process of its own: in this one, kernels are made for the interpreter.
    places = {"EVONAS_CACHE": str(tmp_path / "evonas"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    command = [
        sys.executable,
        "-m",
        "evonas.kernels.triton.gpu_resources",
        *zoo,
        "--arch",
        str(arch),
        "--shapes",
        str(shapes),
    ]
    environment = {**os.environ, **places, "TRITON_INTERPRET": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert {one["layer"] for one in found} == set(zoo) and {one["arch"] for one in found} == {arch}
    assert {"write", "write_back", "forward_rows", "backward_rows", "backward_rows_of_sum"} <= {
        one["kernel"] for one in found
    }
    assert len({tuple(one["shape"]) for one in found}) == shapes + min(shapes, len(ROW_SHAPES))
    assert [one for one in found if one["spilled"]] == []
