"""The choice of tests that may catch a mutant: likely and fast ones first."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.coverage_map import Coverage, Test
from benchmarks.mutants.sources import TOPS, walk

BATCHES = ((6.0, 4), (15.0, 8), (40.0, 20))
"""Limits of the first batches: seconds of tests, and number of test files. The first batch catches most mutants."""
BESIDE_SECONDS = 15.0
"""Seconds of tests that run other lines of the mutated file."""
OVERHEAD = 0.03
"""Overhead of each test, in seconds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The tests for a mutant.

    Attributes:
        batches: names of tests, in order; each batch is one call of pytest.
        wanted: names of the tests that must pass before a mutant has survived.
        unrun: whether no test is known to run the mutated line.
    """

    batches: list[list[str]]
    wanted: frozenset[str]
    unrun: bool


class Chooser:
    """Chooses tests by the lines that they run.

    Args:
        root: root of the checkout.
        coverage: the lines that its tests run.
    """

    def __init__(self, root: Path, coverage: Coverage) -> None:
        self._coverage = coverage
        self._users = _users(root)
        self._by_path: dict[str, list[Test]] = defaultdict(list)
        for test in coverage.tests:
            for path in test.lines:
                self._by_path[path].append(test)

    def choose(self, mutant: Mutant, first: Sequence[str] = ()) -> Choice:
        """Choose the tests for a mutant.

        Args:
            mutant: the mutant to catch.
            first: names of tests that are run before all others; test files, and functions without their parameters,
                are allowed as well.
        """
        path, place = mutant.path, mutant.place
        mask = _mask(place.lines if place.deferred else place.around)
        hits = {test.name: (test.lines[path] & mask).bit_count() for test in self._by_path[path]}
        wanted = [test for test in self._by_path[path] if hits[test.name]]
        unrun, stems = not wanted, {Path(path).stem}
        if unrun:
            users = self._users(path)
            stems |= set() if path.endswith(".py") else {Path(user).stem for user in users}
            wanted = self._near(users, stems)
            hits = {t.name: sum(t.lines.get(user, 0).bit_count() for user in users) ** 2 for t in wanted}
        alone = place.deferred and not unrun
        ranked = _ranked(stems, wanted, lambda test: 1 if alone else max(1, hits[test.name]))
        if not path.endswith(".py"):
            ranked.sort(key=lambda test: _likeness(stems, test.file) == 1)
        # A value that is cached in a process is computed by one test, and used by other tests of its file.
        files = {test.file for test in wanted}
        known = {test.name for test in wanted}
        beside = [test for test in self._by_path[path] if test.file in files and test.name not in known]
        ranked += _first(_ranked(stems, beside, lambda test: 1), BESIDE_SECONDS)
        batches = self._batches(ranked)
        if first:
            named = [test for test in self._coverage.tests if _is_named(test.name, first)]
            ahead = {test.name for test in named}
            batches = [_by_file(named), *([name for name in batch if name not in ahead] for batch in batches)]
        return Choice([batch for batch in batches if batch], frozenset(known), unrun and path.endswith(".py"))

    def _near(self, users: set[str], stems: set[str]) -> list[Test]:
        """Find tests for a line that no test runs: tests of files that use its file, and tests with a similar name."""
        using = {test.name for user in users for test in self._by_path[user]}
        return [test for test in self._coverage.tests if test.name in using or _likeness(stems, test.file) > 1]

    @staticmethod
    def _batches(tests: Sequence[Test]) -> list[list[str]]:
        """Split tests into short batches and a rest, each ordered by test file, because files share fixtures."""
        batches, place = [], 0
        for most, count in BATCHES:
            seconds, files, start = 0.0, set[str](), place
            while place < len(tests):
                test = tests[place]
                full = seconds + test.seconds > most or len(files | {test.file}) > count
                if full and place > start:
                    break
                seconds += test.seconds
                files.add(test.file)
                place += 1
            batches.append(_by_file(tests[start:place]))
        return [*batches, _by_file(tests[place:])]


def _first(tests: Sequence[Test], seconds: float) -> list[Test]:
    """Return the first tests that fit into these seconds."""
    totals = accumulate(test.seconds for test in tests)
    return [test for test, total in zip(tests, totals, strict=True) if total <= seconds]


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


def _ranked(stems: set[str], tests: Sequence[Test], hits: Callable[[Test], int]) -> list[Test]:
    """Sort tests by cost over likelihood: a test is more likely to fail the fewer other lines it runs."""

    def price(test: Test) -> float:
        return (test.seconds + OVERHEAD) * (test.size + 20) / hits(test) / _likeness(stems, test.file)

    before: Counter[str] = Counter()
    prices = {}
    for test in sorted(tests, key=price):
        function = test.name.partition("[")[0]
        before[function] += 1  # other parameters of the same test see mostly the same
        prices[test.name] = price(test) * before[function]
    return sorted(tests, key=lambda test: prices[test.name])


def _likeness(stems: set[str], file: str) -> float:
    """Return how much more likely a test file is to catch a mutant because of its name."""
    name = Path(file).stem.removeprefix("test_")
    if name in stems:
        return 8.0
    return 3.0 if set(name.split("_")) & {word for stem in stems for word in stem.split("_")} else 1.0


def _users(root: Path) -> Callable[[str], set[str]]:
    """Return a function from a file to the files that import it, or that name it if it is not Python."""
    files = [path for top in TOPS for path in walk(root / top) if path.suffix == ".py"]
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in sorted(files)}
    imports = {path: _imports(text) for path, text in texts.items()}

    def users(path: str) -> set[str]:
        if not path.endswith(".py"):
            return {user for user, text in texts.items() if f'"{Path(path).name}"' in text}
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
