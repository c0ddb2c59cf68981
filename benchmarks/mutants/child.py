"""A forked child: it runs tests in a given order, and reports on each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Sequence
from typing import Any, TextIO

import pytest

from benchmarks.mutants.noting import arguments, measured, send


def run(request: dict[str, Any], events: TextIO) -> None:
    """Run the tests of a request.

    Args:
        request: the request: `root`, the copy of the project; `batches`, lists of names of tests, each for one call of
            pytest, in that order; `limit`, the CPU seconds after which no other test begins; `measure`, None or
            patterns of the files whose lines are measured, which needs a single batch of a whole test file.
        events: the stream for events, one line of JSON each; the last one has an `outcome`.
    """
    _settle(request["root"])
    spent = Spent(request["limit"])
    if request["measure"]:
        send(events, measured(request["batches"][0], request["measure"], events))
        return
    for number, batch in enumerate(request["batches"]):
        if number and spent.all():
            send(events, {"outcome": "passed", "left": [name for rest in request["batches"][number:] for name in rest]})
            return
        chosen = Chosen(batch, events, spent)
        code = pytest.main(arguments(batch, "-x"), plugins=[chosen])
        if chosen.failed is not None:
            send(events, {"outcome": "failed", **chosen.failed})
            return
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and not chosen.left:
            send(
                events,
                {"outcome": "broken", "test": batch[0].partition("::")[0], "detail": f"pytest ended with {code}"},
            )
            return
        if chosen.left:
            later = [name for rest in request["batches"][number + 1 :] for name in rest]
            send(events, {"outcome": "passed", "left": chosen.left + later})
            return
    send(events, {"outcome": "passed", "left": []})


def _settle(root: str) -> None:
    """Set up the process as if Python had been started in `root`."""
    os.chdir(root)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:] = [root, *(entry for entry in sys.path if entry not in ("", root))]
    sys.argv[:] = ["pytest"]


class Spent:
    """The time limit of a mutant.

    It counts CPU time, so that a busy machine does not skip tests, but at most four times as much wall-clock time.
    """

    def __init__(self, limit: float) -> None:
        self._limit, self._start = limit, time.monotonic()
        self._before = self._processor()

    def all(self) -> bool:
        """Return whether the time is over."""
        by_the_clock = time.monotonic() - self._start
        return max(self._processor() - self._before, by_the_clock / 4) > self._limit

    def _processor(self) -> float:
        """Return the CPU seconds of this process and of finished child processes."""
        return sum(os.times()[:4])


class Chosen:
    """A pytest plugin that runs the tests of a list in order, until one fails or the time is over."""

    def __init__(self, names: Sequence[str], events: TextIO, spent: Spent) -> None:
        self._rank = {name: rank for rank, name in enumerate(names)}
        self._events, self._spent = events, spent
        self.left: list[str] = []
        self.failed: dict[str, str] | None = None

    def pytest_sessionstart(self) -> None:
        """Keep hypothesis from shrinking counterexamples, because the first one is enough."""
        if "hypothesis" in sys.modules:
            from hypothesis import Phase, settings

            settings.register_profile(
                "mutants", parent=settings.default, phases=(Phase.explicit, Phase.reuse, Phase.generate)
            )
            settings.load_profile("mutants")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Select the tests of the list, which may name whole files, and functions without their parameters.

        A test whose parameters the mutant has renamed is recognised by its function.
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
        """Run a test, unless the time is over."""
        if self._spent.all():
            self.left = [other.nodeid for other in item.session.items[item.session.items.index(item) :]]
            pytest.exit("the limit was reached", returncode=0)
        send(self._events, {"test": item.nodeid})
        done = yield
        if self.failed is None:
            send(self._events, {"passed": 1})
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first failure."""
        if report.failed and self.failed is None:
            self.failed = {"test": report.nodeid, "detail": _last(report.longreprtext)}

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Treat a test file that cannot be imported as a failure."""
        if report.failed and self.failed is None:
            self.failed = {"test": report.nodeid, "detail": _last(report.longreprtext)}


def _last(text: str) -> str:
    """Return the line of a report that says what went wrong."""
    said = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return (said or text.splitlines() or [""])[0][:300]
