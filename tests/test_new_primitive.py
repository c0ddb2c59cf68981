"""CONTRIBUTING.md's recipe for a primitive, followed: a row is all that a new one takes."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WITH_SOFTSIGN = (
    "tests/new_primitive_checks.py",
    *("tests/test_primitives.py", "tests/test_differentiate.py", "tests/test_export.py"),  # generated from the row
    *("tests/test_published_spaces.py", "tests/test_search_space.py"),
)


def test_a_row_is_all_that_a_new_primitive_takes() -> None:
    """In an interpreter of its own, because the table of primitives is built once."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.softsign", "-p", "no:cacheprovider", "-rs"]
    chosen = ["-k", "new_primitive or softsign or published_spaces or search_space"]
    done = subprocess.run([*command, *WITH_SOFTSIGN, *chosen], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = re.search(r"(\d+) passed", done.stdout)
    assert summary is not None, done.stdout
    # Twenty of its own, twenty that are generated from the row, and those of search spaces.
    assert int(summary[1]) > 60, done.stdout


def test_a_row_without_cpp_is_refused_at_once() -> None:
    """It used to be found by the first training on a CPU."""
    program = (
        "from dataclasses import replace\n"
        "from tests.softsign import SOFTSIGN, elementwise\n"
        "elementwise.ELEMENTWISE = (*elementwise.ELEMENTWISE[:-1], replace(SOFTSIGN, cpp=''))\n"
        "import evonas.language.graph\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: primitive 'softsign': its row lacks cpp (its C++ source); see CONTRIBUTING.md" in done.stderr
