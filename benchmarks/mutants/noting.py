"""Which lines each test of a file runs, as a child notes it with coverage."""

from __future__ import annotations

import os
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


def arguments(batch: Sequence[str], *more: str) -> list[str]:
    """What pytest is called with for names of tests: their files, and options."""
    files = list(dict.fromkeys(name.partition("::")[0] for name in batch))
    return [*files, "-q", "-p", "no:cacheprovider", "--tb=short", f"--rootdir={Path.cwd()}", *more]


def tell(told: TextIO, event: dict[str, Any]) -> None:
    """Tells of an event, as a line of JSON."""
    told.write(dumps(event) + "\n")
    told.flush()


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
    code = pytest.main(arguments(batch), plugins=[plugin])
    tracing.stop()
    tracing.save()
    tell(told, {"patience": 300.0})
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
        tell(self._told, {"test": item.nodeid, "patience": 400.0})
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
