"""The project's files: which are mutated, in which room each is, a digest of them, and copies to work in."""

from __future__ import annotations

import hashlib
import os
import py_compile
import shutil
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

CODE = (".py", ".h")
"""How the names of files end that are mutated."""
TOPS = ("evonas", "kernels", "workers", "search_spaces", "db")
LEFT_OUT = ("evonas/cli", "evonas/report", "db/migrations")
"""Folders without mutants, unless they are asked for."""
NOT_COPIED = (
    ".git", ".venv*", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "*.db", "*.db-*",
    "node_modules",
)  # fmt: skip

NO_MATTER = ("benchmarks/mutants", "benchmarks/results", "tests/test_mutants.py")
"""What the digest passes over: this tool itself, and results of measurements."""


def mutable(root: Path, only: tuple[str, ...] = ()) -> list[str]:
    """Paths of the files that are mutated, relative to the root, in order.

    They are found by walking; what a symbolic link leads to is found where it lies.

    Args:
        root: of the checkout.
        only: files and folders, to which it is limited; folders that are left out otherwise count when they are named.
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
    """Files under a folder, without those that links to folders lead to."""
    for place, _, names in os.walk(folder):  # does not follow links
        for name in names:
            if not Path(place).name.startswith("__pycache__"):
                yield Path(place) / name


def room_of(path: str) -> str:
    """The room that a file belongs to: its top folder, or the sub-package of evonas that it lies in."""
    top, *rest = Path(path).parts
    return f"{top}/{rest[0]}" if top == "evonas" and len(rest) > 1 else top


def _digest(root: Path, left_out: Container[str]) -> str:
    """A short digest of what tests depend on: code, benchmarks, examples, and what tests share."""
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
    """What verdicts depend on.

    Attributes:
        code: a digest of everything but the files of tests.
        tests: of each file of tests, by its path.
    """

    code: str
    tests: dict[str, str]

    @property
    def whole(self) -> str:
        """Of all of it."""
        return hashlib.sha256(repr((self.code, sorted(self.tests.items()))).encode()).hexdigest()[:16]


def digests(root: Path) -> Digests:
    """The digests of a checkout."""
    tests = {path: hashlib.sha256((root / path).read_bytes()).hexdigest()[:16] for path in test_files(root)}
    return Digests(_digest(root, tests), tests)


def test_files(root: Path) -> list[str]:
    """Files of tests, relative to the root, without those of this tool."""
    found = sorted(path.relative_to(root).as_posix() for path in (root / "tests").rglob("test_*.py"))
    return [path for path in found if path not in NO_MATTER]


def copy(root: Path, place: Path) -> None:
    """Copies a checkout, links as links, with compiled files that are held to the text of their source.

    A mutant may have the size and the time of what it replaces, which is all that Python looks at otherwise.
    """
    shutil.copytree(root, place, symlinks=True, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for top in (*TOPS, "benchmarks"):
        for path in walk(place / top):
            if path.suffix == ".py":
                py_compile.compile(
                    str(path), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH, doraise=False
                )
