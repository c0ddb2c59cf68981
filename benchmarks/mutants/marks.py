"""The two lists maintained by hand: mutants that are not faults, and known faults that tests must catch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.mutants.changes import Mutant, lines_of, mutants_of
from benchmarks.mutants.places import Place

EQUIVALENT = Path(__file__).with_name("equivalent.toml")
KNOWN = Path(__file__).with_name("known.toml")


class ListError(ValueError):
    """An entry of a list does not match the code; the message names it."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that no test can catch.

    Attributes:
        path: path of the file.
        old: the line or lines that it changes, stripped.
        new: the same lines with the change.
        reason: why the change makes no difference.
    """

    path: str
    old: str
    new: str
    reason: str

    def is_of(self, mutant: Mutant) -> bool:
        """Return whether the entry describes a mutant."""
        return (self.path, self.old, self.new) == (mutant.path, mutant.text, mutant.after)


@dataclass(frozen=True, slots=True)
class Fault:
    """A known fault that tests must catch.

    Attributes:
        path: path of the file.
        old: the text that is replaced, which occurs once in the file.
        new: the text that replaces it.
        why: why this is a fault.
        tests: names of tests, at least one of which fails with the fault; parameters may be left out.
    """

    path: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...] = ()

    def mutant(self, root: Path) -> Mutant:
        """Return the fault as a mutant.

        Raises:
            ListError: The file or a test file is missing, or the text does not occur exactly once in the file.
        """
        for test in self.tests:
            if not (root / test.partition("::")[0]).is_file():
                raise ListError(f"{self.path}, “{self.why}”: there are no tests {test}")
        file = root / self.path
        text = file.read_text() if file.is_file() else None
        times = -1 if text is None else text.count(self.old)
        if text is None or times != 1 or self.old == self.new:
            found = {-1: "there is no such file", 0: "the text to be replaced is not in it"}
            what = found.get(
                times, "nothing changes" if times == 1 else f"the text to be replaced is in it {times} times"
            )
            raise ListError(f"{self.path}, “{self.why}”: {what}")
        start = text.index(self.old)
        line = text.count("\n", 0, start) + 1
        place = Place((line, line + self.old.rstrip("\n").count("\n")), True, (1, text.count("\n") + 1))
        first, last = len(text[:start].encode()), len(text[:start].encode()) + len(self.old.encode())
        lines = lines_of(text.encode(), first, last, self.new)
        return Mutant(self.path, first, self.old, self.new, "a known fault", line, *lines, place)


def faults(file: Path) -> list[Fault]:
    """Read a list of known faults.

    Raises:
        ListError: An entry is invalid.
    """
    found = []
    for entry, number in _entries(file, "fault"):
        try:
            found.append(Fault(**{**entry, "tests": tuple(entry.get("tests", ()))}))
        except TypeError as error:
            raise ListError(f"{file}, fault {number}: {error}") from None
    return found


def equivalents(file: Path) -> list[Equivalent]:
    """Read a list of mutants that are not faults.

    Raises:
        ListError: An entry is invalid, or has no reason.
    """
    found = []
    for entry, number in _entries(file, "equivalent"):
        try:
            found.append(Equivalent(**entry))
        except TypeError as error:
            raise ListError(f"{file}, equivalent {number}: {error}") from None
        if not found[-1].reason.strip():
            raise ListError(f"{file}, equivalent {number}: there is no reason")
    return found


def _entries(file: Path, name: str) -> Iterator[tuple[dict[str, Any], int]]:
    if file.exists():
        for number, entry in enumerate(tomllib.loads(file.read_text()).get(name, []), 1):
            yield entry, number


def outdated(root: Path, listed: list[Equivalent]) -> list[Equivalent]:
    """Return the entries of a list that no longer describe a mutant of the code."""
    mutants = {path: mutants_of(root, path) if (root / path).is_file() else [] for path in {one.path for one in listed}}
    return [one for one in listed if not any(one.is_of(mutant) for mutant in mutants[one.path])]
