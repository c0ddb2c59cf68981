"""What a forked child does: runs tests in a given order, and tells about each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence
from typing import Any, TextIO

import pytest

from benchmarks.mutants.noting import arguments, measured, tell


def run(request: dict[str, Any], told: TextIO) -> None:
    """Runs the tests of a request.

    Args:
        request: `root`, the copy of the project; `batches`, each a list of names of tests that pytest gets at once, in
            that order; `limit`, seconds of a processor after which no other test is begun; `measure`, None, or patterns
            of the files whose lines count, which needs one batch of a whole file of tests.
        told: where events go, one JSON document a line; the last has an `outcome`.
    """
    _settle(request["root"])
    spent = Spent(request["limit"])
    if request["measure"]:
        tell(told, measured(request["batches"][0], request["measure"], told))
        return
    for number, batch in enumerate(request["batches"]):
        if number and spent.all():
            tell(told, {"outcome": "passed", "left": [name for rest in request["batches"][number:] for name in rest]})
            return
        chosen = Chosen(batch, told, spent)
        code = pytest.main(arguments(batch, "-x"), plugins=[chosen])
        if chosen.failed is not None:
            tell(told, {"outcome": "failed", **chosen.failed})
            return
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and not chosen.left:
            tell(
                told, {"outcome": "broken", "test": batch[0].partition("::")[0], "detail": f"pytest ended with {code}"}
            )
            return
        if chosen.left:
            later = [name for rest in request["batches"][number + 1 :] for name in rest]
            tell(told, {"outcome": "passed", "left": chosen.left + later})
            return
    tell(told, {"outcome": "passed", "left": []})


def _settle(root: str) -> None:
    """As if Python had been started in `root`."""
    os.chdir(root)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:] = [root, *(entry for entry in sys.path if entry not in ("", root))]
    sys.argv[:] = ["pytest"]


class Spent:
    """Whether the seconds of a mutant are spent.

    They are a processor's, so that a busy machine leaves no tests out; but no more than four times as many by a clock.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._start = limit, time.monotonic()
        self._before = self._processor()

    def all(self) -> bool:
        """Whether none are left."""
        by_the_clock = time.monotonic() - self._start
        return max(self._processor() - self._before, by_the_clock / 4) > self._limit

    def _processor(self) -> float:
        """Seconds of this process and of those that it has waited for."""
        return sum(os.times()[:4])


class Chosen:
    """A plugin that runs the tests of a list, in its order, until one fails or time is up."""

    def __init__(self, names: Sequence[str], told: TextIO, spent: Spent) -> None:
        self._rank = {name: rank for rank, name in enumerate(names)}
        self._told, self._spent = told, spent
        self.left: list[str] = []
        self.failed: dict[str, str] | None = None

    def pytest_sessionstart(self) -> None:
        """Leaves out what hypothesis does to a counterexample: one is enough."""
        if "hypothesis" in sys.modules:
            from hypothesis import Phase, settings

            settings.register_profile(
                "mutants", parent=settings.default, phases=(Phase.explicit, Phase.reuse, Phase.generate)
            )
            settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves the tests of the list, which may name whole files, and functions without parameters.

        A test whose parameters the mutant has renamed is told by its function.
        """
        present = {item.nodeid for item in items}
        others = {name.partition("[")[0]: rank for name, rank in self._rank.items() if name not in present}
        chosen = []
        for item in items:
            name, function, file = item.nodeid, item.nodeid.partition("[")[0], item.nodeid.partition("::")[0]
            rank = self._rank.get(name, others.get(function, others.get(file)))
            if rank is not None:
                chosen.append((rank, item))
        items[:] = [item for _, item in sorted(chosen, key=lambda pair: pair[0])]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool, bool]:
        """Begins no test after the limit."""
        if self._spent.all():
            self.left = [other.nodeid for other in item.session.items[item.session.items.index(item) :]]
            pytest.exit("the limit was reached", returncode=0)
        tell(self._told, {"test": item.nodeid})
        done = yield
        if self.failed is None:
            tell(self._told, {"passed": 1})
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keeps the first failure."""
        if report.failed and self.failed is None:
            self.failed = {"test": report.nodeid, "detail": _last(report.longreprtext)}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file of tests that cannot be imported has failed."""
        if report.failed and self.failed is None:
            self.failed = {"test": report.nodeid, "detail": _last(report.longreprtext)}


def _last(text: str) -> str:
    """The line that says what was wrong."""
    said = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (said or text.splitlines() or [""])[0][:300]
