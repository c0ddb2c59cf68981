"""Commands on a machine that has PyTorch and little else, as one with a GPU may be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT = """
import runpy, sys
for name in ("ray", "sqlalchemy", "alembic", "pymoo", "tomli_w", "latex2mathml"):
    sys.modules[name] = None
sys.argv = ["evonas", *sys.argv[1:]]
runpy.run_module("evonas", run_name="__main__")
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(
    "arguments",
    [
        ("show", "x / rms_c(x)", "--kernel"),
        ("show", "evonorm-s0", "--plan"),
        ("export", "evonorm-s0", "-o", "layer.py"),
        ("zoo",),
    ],
    ids=" ".join,
)
def test_these_need_none_of_them(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 0 and done.stdout and not done.stderr, done.stderr


@pytest.mark.parametrize(
    ("arguments", "package", "name"),
    [
        (("config",), "tomli_w", "tomli-w"),
        (("best",), "sqlalchemy", "sqlalchemy"),
        (("runs",), "sqlalchemy", "sqlalchemy"),
    ],
)
def test_a_command_names_what_it_needs(arguments: tuple[str, ...], package: str, name: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2 and not done.stdout
    said = f"evonas: this command needs the package {package}, which is not installed: pip install {name}\n"
    assert done.stderr == said


def test_the_doctor_finds_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "doctor", "--format", "json")
    assert done.returncode == 1 and not done.stderr
    assert '"needs the package ray, which is not installed"' in done.stdout
    assert '"needs the package sqlalchemy, which is not installed"' in done.stdout
