"""The two lists that are kept by hand: mutants that are no faults, and faults that have to be noticed."""

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
    """An entry of a list that does not fit the code; says which."""


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that no test can notice.

    Attributes:
        path: of the file.
        old: the line that it changes, or several, without the spaces around.
        new: the same with the change.
        reason: why that makes no difference.
    """

    path: str
    old: str
    new: str
    reason: str

    def is_of(self, mutant: Mutant) -> bool:
        """Whether a mutant is the one that is meant."""
        return (self.path, self.old, self.new) == (mutant.path, mutant.text, mutant.after)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that has to be noticed.

    Attributes:
        path: of the file.
        old: what is replaced, which the file has once.
        new: what stands there instead.
        why: what is wrong with that.
        tests: names of tests of which one fails with it at least; those with parameters may go without.
    """

    path: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...] = ()

    def mutant(self, root: Path) -> Mutant:
        """The fault as a mutant.

        Raises:
            ListError: where the file is not there, or has the text several times or not at all, or where the fault
                names tests in a file that is not there.
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
    """The faults of a list.

    Raises:
        ListError: for an entry that is not as it should be.
    """
    found = []
    for entry, number in _entries(file, "fault"):
        try:
            found.append(Fault(**{**entry, "tests": tuple(entry.get("tests", ()))}))
        except TypeError as error:
            raise ListError(f"{file}, fault {number}: {error}") from None
    return found


def equivalents(file: Path) -> list[Equivalent]:
    """The mutants of a list that are no faults.

    Raises:
        ListError: for an entry that is not as it should be, or has no reason.
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
    """Those of a list that no mutant of the code is any more."""
    mutants = {path: mutants_of(root, path) if (root / path).is_file() else [] for path in {one.path for one in listed}}
    return [one for one in listed if not any(one.is_of(mutant) for mutant in mutants[one.path])]
