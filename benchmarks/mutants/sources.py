"""The files of the project: which are mutated, their rooms, their digests, and working copies."""

from __future__ import annotations

import hashlib
import os
import py_compile
import shutil
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

CODE = (".py", ".h")
"""Suffixes of the files that are mutated."""
TOPS = ("evonas", "kernels", "workers", "search_spaces", "db")
LEFT_OUT = ("evonas/cli", "evonas/report", "db/migrations")
"""Folders that are mutated only on request."""
NOT_COPIED = (
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*.db", "*.db-*",
    "node_modules",
)  # fmt: skip

NO_MATTER = ("benchmarks/mutants", "benchmarks/results", "tests/test_mutants.py")
"""Paths that the digest ignores: this tool itself, and results of measurements."""


def mutable(root: Path, only: tuple[str, ...] = ()) -> list[str]:
    """Return the sorted paths of the files that are mutated, relative to the root. Symbolic links are not followed.

    Args:
        root: root of the checkout.
        only: files and folders to include; all by default, except folders that are mutated only on request.
    """
    found = []
    for top in TOPS:
        for path in walk(root / top):
            name = path.relative_to(root).as_posix()
            if path.suffix not in CODE:
                continue
            if any(_within(name, place) and not any(_within(one, place) for one in only) for place in LEFT_OUT):
                continue
            if not only or any(_within(name, place) for place in only):
                found.append(name)
    return sorted(found)


def _within(path: str, place: str) -> bool:
    return path == place.rstrip("/") or path.startswith(place.rstrip("/") + "/")


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files under a folder, without following links to folders."""
    for place, _, names in os.walk(folder):  # does not follow links
        for name in names:
            if not Path(place).name.startswith("__pycache__"):
                yield Path(place) / name


def room_of(path: str) -> str:
    """Return the room of a file: its top folder, or its sub-package of evonas."""
    top, *rest = Path(path).parts
    return f"{top}/{rest[0]}" if top == "evonas" and len(rest) > 1 else top


def _digest(root: Path, left_out: Container[str]) -> str:
    """Return a digest of everything that tests depend on: code, benchmarks, examples, and helpers of tests."""
    total = hashlib.sha256()
    places = [root / name for name in (*TOPS, "benchmarks", "tests", "examples") if (root / name).is_dir()]
    files = sorted(path for place in places for path in walk(place))
    for path in files:
        name = path.relative_to(root).as_posix()
        other = any(_within(name, place) for place in NO_MATTER)
        if path.is_file() and path.suffix != ".pyc" and not other and name not in left_out:
            total.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests of the files that verdicts depend on.

    Attributes:
        code: digest of everything except the test files.
        tests: digest of each test file, by path.
    """

    code: str
    tests: dict[str, str]

    @property
    def whole(self) -> str:
        """Digest of all files together."""
        return hashlib.sha256(repr((self.code, sorted(self.tests.items()))).encode()).hexdigest()[:16]


def digests(root: Path) -> Digests:
    """Compute the digests of a checkout."""
    tests = {path: hashlib.sha256((root / path).read_bytes()).hexdigest()[:16] for path in test_files(root)}
    return Digests(_digest(root, tests), tests)


def test_files(root: Path) -> list[str]:
    """Return the test files, relative to the root, without those of this tool."""
    found = sorted(path.relative_to(root).as_posix() for path in (root / "tests").rglob("test_*.py"))
    return [path for path in found if path not in NO_MATTER]


def copy(root: Path, place: Path) -> None:
    """Copy a checkout, keeping links, and compile its files so that Python checks them by a hash of their source.

    By default Python compares only the size and time of a source file, which may be the same for a mutant.
    """
    shutil.copytree(root, place, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for top in (*TOPS, "benchmarks"):
        for path in walk(place / top):
            if path.suffix == ".py":
                py_compile.compile(
                    str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, doraise=False
                )
