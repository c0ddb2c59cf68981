"""Mutation testing: the changes, the sample, and the whole on a toy project. The lists kept by hand fit the code."""

import json
from pathlib import Path

import pytest

from benchmarks.mutants.__main__ import main
from benchmarks.mutants.changes import Mutant, mutants_of
from benchmarks.mutants.marks import EQUIVALENT, KNOWN, Fault, ListError, equivalents, faults, outdated
from benchmarks.mutants.sampling import sample
from benchmarks.mutants.sources import mutable, room_of

ROOT = Path(__file__).parent.parent

TOY = """\
def larger(one: int, other: int) -> int:
    return one if one > other else other


def half(number: int) -> float:
    return number / 2
"""
TOY_TEST = """\
from evonas.toy import half, larger


def test_larger():
    assert larger(1, 2) == 2 and larger(3, 2) == 3


def test_half():
    assert half(0) == 0
"""


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A project of one module, with a test that notices much and one that notices little."""
    for name, text in (("evonas/__init__.py", ""), ("evonas/toy.py", TOY), ("tests/test_toy.py", TOY_TEST)):
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "project"


def _judged(toy: Path, *more: str) -> dict[str, str]:
    """The verdicts on the toy project, by change."""
    out = toy.parent / "out.json"
    main(["--root", str(toy), "--cache", str(toy.parent / "cache"), "--jobs", "1", "-o", str(out), *more])
    document = json.loads(out.read_text())
    return {verdict["change"]: verdict["verdict"] for verdict in document["verdicts"]}


def test_what_a_test_looks_at_is_caught_and_the_rest_survives(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _judged(toy, "--sample", "100")
    assert found[">  ->  <="] == "caught"
    assert found["/  ->  *"] == "survived"
    assert found["2  ->  1"] == "survived"
    assert (toy / "evonas" / "toy.py").read_text() == TOY
    out = capsys.readouterr().out
    assert "evonas/toy.py:6  survived" in out
    assert "return number / 2" in out
