"""What a forked child does: runs tests in a given order, and tells about each; or measures which lines each runs."""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any, TextIO

import pytest

FIXTURE = "fixture|"
"""How the name of a context starts in which a fixture was made that tests share."""
STARTUP = """\
import coverage
coverage.process_startup()
"""
SETTINGS = """\
[run]
parallel = true
sigterm = true
data_file = {folder}/.coverage
include = {include}
context = ${{PYTEST_CURRENT_TEST-}}
"""


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
        _tell(told, measured(request["batches"][0], request["measure"], told))
        return
    for number, batch in enumerate(request["batches"]):
        if number and spent.all():
            _tell(told, {"outcome": "passed", "left": [name for rest in request["batches"][number:] for name in rest]})
            return
        chosen = Chosen(batch, told, spent)
        code = pytest.main(_arguments(batch, "-x"), plugins=[chosen])
        if chosen.failed is not None:
            _tell(told, {"outcome": "failed", **chosen.failed})
            return
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED) and not chosen.left:
            _tell(
                told, {"outcome": "broken", "test": batch[0].partition("::")[0], "detail": f"pytest ended with {code}"}
            )
            return
        if chosen.left:
            later = [name for rest in request["batches"][number + 1 :] for name in rest]
            _tell(told, {"outcome": "passed", "left": chosen.left + later})
            return
    _tell(told, {"outcome": "passed", "left": []})


def _settle(root: str) -> None:
    """As if Python had been started in `root`."""
    os.chdir(root)
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[:] = [root, *(entry for entry in sys.path if entry not in ("", root))]
    sys.argv[:] = ["pytest"]


def _arguments(batch: Sequence[str], *more: str) -> list[str]:
    files = list(dict.fromkeys(name.partition("::")[0] for name in batch))
    return [*files, "-q", "-p", "no:cacheprovider", "--tb=short", f"--rootdir={Path.cwd()}", *more]


def _tell(told: TextIO, event: dict[str, Any]) -> None:
    told.write(dumps(event) + "\n")
    told.flush()


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
        _tell(self._told, {"test": item.nodeid})
        done = yield
        if self.failed is None:
            _tell(self._told, {"passed": 1})
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


def measured(batch: Sequence[str], include: Sequence[str], told: TextIO) -> dict[str, Any]:
    """Runs a whole file of tests with every line noted.

    Processes that the tests start are measured too, where they inherit the environment and end in peace.

    Returns:
        `tests`: by name, the `seconds`, whether it `passed`, and the `fixtures` it shares with others; `lines`: by
        context, which is a test, a shared fixture or "" for importing, and by file relative to the root, the numbers
        of lines as a bit mask in hexadecimal; `collecting`: seconds before the first test.
    """
    import coverage

    folder = Path(os.environ["TMPDIR"]) / "lines"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(STARTUP)
    (folder / "rc").write_text(SETTINGS.format(folder=folder, include=",".join(include)))
    os.environ["COVERAGE_PROCESS_START"] = str(folder / "rc")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    tracing = coverage.Coverage(
        data_file=str(folder / ".coverage"), data_suffix="main", include=include, config_file=False
    )
    plugin = Noting(tracing, told)
    tracing.start()
    code = pytest.main(_arguments(batch), plugins=[plugin])
    tracing.stop()
    tracing.save()
    _tell(told, {"patience": 300.0})
    every = coverage.Coverage(data_file=str(folder / "all"), config_file=False)
    every.combine([str(path) for path in folder.glob(".coverage.*")], keep=True)
    data, root = every.get_data(), Path.cwd().resolve()
    lines: dict[str, dict[str, int]] = defaultdict(dict)
    for file in data.measured_files():
        path = str(Path(file).resolve().relative_to(root))
        for line, contexts in data.contexts_by_lineno(file).items():
            for context in contexts:
                name = _test_of(context)
                lines[name][path] = lines[name].get(path, 0) | 1 << line
    return {
        "outcome": "measured",
        "code": int(code),
        "tests": plugin.tests,
        "collecting": plugin.collecting,
        "lines": {context: {path: f"{mask:x}" for path, mask in files.items()} for context, files in lines.items()},
    }


def _test_of(context: str) -> str:
    """A name of a context as it was given here, or by pytest to a process that a test started."""
    for phase in (" (setup)", " (call)", " (teardown)"):
        context = context.removesuffix(phase)
    return context


class Noting:
    """A plugin that tells coverage which test runs."""

    def __init__(self, tracing: Any, told: TextIO) -> None:
        self._tracing, self._told = tracing, told
        self._contexts = [""]
        self._start = time.monotonic()
        self.collecting = 0.0
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_finish(self) -> None:
        """Notes how long importing took."""
        self.collecting = round(time.monotonic() - self._start, 3)

    @contextmanager
    def _in(self, context: str) -> Iterator[None]:
        self._contexts.append(context)
        self._tracing.switch_context(context)
        try:
            yield
        finally:
            self._contexts.pop()
            self._tracing.switch_context(self._contexts[-1])

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, bool, bool]:
        """Notes the lines of a test, with those that make its own fixtures."""
        _tell(self._told, {"test": item.nodeid, "patience": 400.0})
        definitions = getattr(item, "_fixtureinfo", None)
        shared = [
            _context(found[-1])
            for found in (definitions.name2fixturedefs.values() if definitions else ())
            if found[-1].scope != "function"
        ]
        self.tests[item.nodeid] = {"seconds": 0.0, "passed": True, "fixtures": shared}
        with self._in(item.nodeid):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, object, object]:
        """Notes the lines that make a fixture that tests share apart, since all of them depend on it."""
        if fixturedef.scope == "function":
            return (yield)
        with self._in(_context(fixturedef)):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds up set-up, test and what comes after."""
        test = self.tests[report.nodeid]
        test["seconds"] = round(test["seconds"] + report.duration, 3)
        test["passed"] = test["passed"] and not report.failed


def _context(fixture: Any) -> str:
    return f"{FIXTURE}{fixture.baseid}|{fixture.argname}"
