"""The tests that could notice a mutant, the likeliest and fastest first."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.coverage_map import Coverage, Test
from benchmarks.mutants.sources import TOPS, walk

FIRST_SECONDS, FIRST_FILES = 6.0, 4
"""What is run before everything else, for nearly all mutants that are noticed are noticed by that."""
OVERHEAD = 0.03
"""Seconds that any test takes beside its own."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Tests for a mutant.

    Attributes:
        batches: names of tests, in order; pytest gets each batch at once.
        wanted: names of the tests that have to pass before a mutant is said to have survived.
        late: those of them that the limit leaves out from the start.
        unrun: whether no test is known to run the mutated line.
    """

    batches: list[list[str]]
    wanted: frozenset[str]
    late: list[str]
    unrun: bool


class Chooser:
    """Chooses tests by what they run.

    Args:
        root: of the checkout.
        coverage: what its tests run.
        limit: seconds of tests for one mutant.
    """

    def __init__(self, root: Path, coverage: Coverage, limit: float) -> None:
        self._coverage, self._limit = coverage, limit
        self._users = _users(root)
        self._by_path: dict[str, list[Test]] = defaultdict(list)
        for test in coverage.tests:
            for path in test.lines:
                self._by_path[path].append(test)

    def choose(self, mutant: Mutant, first: Sequence[str] = ()) -> Choice:
        """Tests for a mutant.

        Args:
            mutant: what they are to notice.
            first: names of tests that come before any other; files of tests, and functions without parameters, too.
        """
        path, place = mutant.path, mutant.place
        mask = _mask(place.lines if place.deferred else place.around)
        hits = {test.name: (test.lines[path] & mask).bit_count() for test in self._by_path[path]}
        wanted = [test for test in self._by_path[path] if hits[test.name]]
        unrun = not wanted
        if unrun:
            wanted = self._near(path)
            hits = {test.name: 1 for test in wanted}
        ranked = _ranked(path, wanted, lambda test: 1 if place.deferred else max(1, hits[test.name]))
        # A value that is computed once in a process is computed by one test and used by others of its file.
        files = {test.file for test in wanted}
        known = {test.name for test in wanted}
        beside = [test for test in self._by_path[path] if test.file in files and test.name not in known]
        ranked += _ranked(path, beside, lambda test: 1)
        kept, late = self._within(ranked)
        late = [name for name in late if name in known]
        batches = self._batches(kept)
        if first:
            named = [test for test in self._coverage.tests if _is_named(test.name, first)]
            ahead = {test.name for test in named}
            batches = [_by_file(named), *([name for name in batch if name not in ahead] for batch in batches)]
        return Choice([batch for batch in batches if batch], frozenset(known), late, unrun and path.endswith(".py"))

    def _near(self, path: str) -> list[Test]:
        """Tests for what none runs: of files that use it, of files of tests named like it, and in the end of any."""
        using = {test.name for user in self._users(path) for test in self._by_path[user]}
        stem = Path(path).stem
        return [t for t in self._coverage.tests if t.name in using or _likeness(stem, t.file) > 1]

    def _within(self, tests: Sequence[Test]) -> tuple[list[Test], list[str]]:
        """The tests that fit into the limit, and the names of the others."""
        kept: list[Test] = []
        late: list[str] = []
        seconds = 0.0
        seen: set[str] = set()
        for test in tests:
            cost = test.seconds + OVERHEAD
            if test.file not in seen:
                cost += self._coverage.importing.get(test.file, 0.0) / 4  # most of it is the first one's
            if seconds + cost <= 2 * self._limit or not kept:  # tests are faster where no lines are noted
                kept.append(test)
                seen.add(test.file)
                seconds += cost
            else:
                late.append(test.name)
        return kept, late

    def _batches(self, tests: Sequence[Test]) -> list[list[str]]:
        """A short batch and one of the rest, each file by file, since files share fixtures."""
        first: list[Test] = []
        seconds, files = 0.0, set[str]()
        for test in tests:
            if seconds + test.seconds > FIRST_SECONDS and first:
                break
            if test.file not in files and len(files) == FIRST_FILES:
                break
            first.append(test)
            files.add(test.file)
            seconds += test.seconds
        return [_by_file(first), _by_file(tests[len(first) :])]


def _is_named(test: str, names: Sequence[str]) -> bool:
    return any(part in names for part in (test, test.partition("[")[0], test.partition("::")[0]))


def _mask(lines: tuple[int, int]) -> int:
    first, last = lines
    return (1 << last + 1) - (1 << first)


def _by_file(tests: Sequence[Test]) -> list[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for test in tests:
        groups[test.file].append(test.name)
    return [name for names in groups.values() for name in names]


def _ranked(path: str, tests: Sequence[Test], hits: Callable[[Test], int]) -> list[Test]:
    """Tests by price: seconds for what is the likelier the less a test does beside running the line."""
    stem = Path(path).stem

    def price(test: Test) -> float:
        return (test.seconds + OVERHEAD) * (test.size + 20) / hits(test) / _likeness(stem, test.file)

    before: Counter[str] = Counter()
    prices = {}
    for test in sorted(tests, key=price):
        function = test.name.partition("[")[0]
        before[function] += 1  # the same test with other parameters sees much the same
        prices[test.name] = price(test) * before[function]
    return sorted(tests, key=lambda test: prices[test.name])


def _likeness(stem: str, file: str) -> float:
    """How much likelier a file of tests is to notice because of its name."""
    name = Path(file).stem.removeprefix("test_")
    if name == stem:
        return 8.0
    return 3.0 if set(name.split("_")) & set(stem.split("_")) else 1.0


def _users(root: Path) -> Callable[[str], set[str]]:
    """A function from a file to the files that import it, or that name it where it is no Python."""
    files = [path for top in TOPS for path in walk(root / top) if path.suffix == ".py"]
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in sorted(files)}
    imports = {path: _imports(text) for path, text in texts.items()}

    def users(path: str) -> set[str]:
        if not path.endswith(".py"):
            return {user for user, text in texts.items() if Path(path).name in text}
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        names = {module, f"evonas.{module}"}
        return {user for user, imported in imports.items() if imported & names and user != path}

    return users


def _imports(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found
