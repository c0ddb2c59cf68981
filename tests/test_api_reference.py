"""The reference of the Python API, as README has it made."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import evonas

README = Path(__file__).parent.parent / "README.md"


def test_it_is_made_as_the_readme_says(tmp_path: Path) -> None:
    command = re.search(r"&& (pdoc [^`]*)`", README.read_text())
    assert command is not None
    words = [sys.executable, "-m", *command[1].split(), "-o", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "evonas.html").read_text()
    for name in evonas.__all__:
        assert f'id="{name}"' in page, f"{name} is missing"


@pytest.mark.parametrize("name", sorted(evonas.__all__))
def test_what_users_are_promised_is_documented(name: str) -> None:
    found = getattr(evonas, name)
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return  # a value, whose type is
    assert found.__doc__ and len(found.__doc__.split()) > 5
    if inspect.isfunction(found) and inspect.signature(found).parameters:
        for parameter in inspect.signature(found).parameters:
            assert re.search(rf"\b{parameter}\b", found.__doc__), f"{name} says nothing of {parameter}"
