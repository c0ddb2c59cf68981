"""The reading of kernels: what machine code says, and what the recorded reading holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.kernels.reading import instructions, loop_over_x, resident, table, widest
from evonas.language.zoo import zoo

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "benchmarks" / "results" / "reading.json"
CODE = """
        /*0000*/                   S2R R0, SR_TID.X ;
        /*0010*/                   LDG.E.128.CONSTANT R4, desc[UR4][R2.64] ;
.L_x_0:
        /*0020*/                   FADD R1, R1, R1 ;
.L_x_1:
        /*0030*/              @!P0 LDG.E.64 R4, desc[UR4][R2.64] ;
        /*0040*/                   LDG.E.64 R6, desc[UR4][R8.64] ;
        /*0050*/                   SHFL.BFLY PT, R3, R2, 0x1, 0x1f ;
        /*0060*/                   NOP ;
        /*0070*/              @P1  BRA `(.L_x_1) ;
        /*0080*/                   STG.E.U16 desc[UR4][R2.64], R4 ;
        /*0090*/              @!UP0 BRA `(.L_x_0) ;
        /*00a0*/                   BRA `(.L_x_2) ;
.L_x_2:
        /*00b0*/                   EXIT ;
"""


def test_jumps_back_are_told_from_jumps_ahead() -> None:
    code = instructions(CODE)
    assert [op for op, _ in code][:3] == ["S2R", "LDG.E.128.CONSTANT", "FADD"] and len(code) == 12
    assert {place: target for place, (_, target) in enumerate(code) if target is not None} == {7: 3, 9: 2}


def test_the_loop_over_x_is_the_innermost_one() -> None:
    assert loop_over_x(instructions(CODE)) == (["LDG.E.64", "LDG.E.64", "SHFL.BFLY", "BRA"], True)
    straight = instructions(CODE.replace("`(.L_x_1)", "`(.L_x_2)").replace("`(.L_x_0)", "`(.L_x_2)"))
    body, repeats = loop_over_x(straight)
    assert len(body) == 11 and not repeats  # all but what does nothing


def test_the_width_of_accesses_is_that_of_the_narrow_ones() -> None:
    body, _ = loop_over_x(instructions(CODE))
    assert widest(body, "LDG") == 8 and widest(body, "STG") == 0
    assert widest(["LDG.E.128"] * 5 + ["LDG.E.U16"] * 5, "LDG") == 2
    assert widest(["LDG.E.128"] * 19 + ["LDG.E"], "LDG") == 16  # a parameter among them
    assert widest(["STG.E"], "STG") == 4


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "expected"),
    [(128, 32, 0, 16), (256, 183, 0, 1), (128, 128, 1024, 4), (32, 16, 0, 32), (128, 32, 100 * 1024, 2)],
)
def test_what_a_multiprocessor_holds(threads: int, registers: int, shared: int, expected: int) -> None:
    assert resident(threads, registers, shared) == expected


def test_it_reads_and_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "reading.json"
    # In a process of its own: in this one, kernels are made for the interpreter.
    places = {"EVONAS_CACHE": str(tmp_path / "evonas"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    command = [sys.executable, "-m", "benchmarks.kernels.reading", "bn-relu", "--shapes", "1", "--workers", "1"]
    for _ in range(2):
        done = subprocess.run(
            [*command, "-o", str(file)],
            cwd=ROOT,
            env={**os.environ, **places, "TRITON_INTERPRET": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "\n".join(table(json.loads(file.read_text())["rows"])) in done.stdout
    assert "1/1" not in done.stdout  # the second call had nothing left to read
    rows = {row["kernel"]: row for row in json.loads(file.read_text())["rows"]}
    assert set(rows) == {"sweep_1", "write", "total", "write_back"}
    # 16-byte loads of eight values each, and no shuffle for each tile.
    assert all(row["load_bytes"] == 16 and not row["shuffles"] and not row["spilled"] for row in rows.values())
    assert all(5 < row["instructions"] < 25 and row["ceiling"]["H100"] > 1.3 for row in rows.values())


def test_no_kernel_of_the_recorded_reading_spills() -> None:
    rows = json.loads(RECORDED.read_text())["rows"]
    assert {row["layer"] for row in rows} == set(zoo) and not any(row["spilled"] for row in rows)
