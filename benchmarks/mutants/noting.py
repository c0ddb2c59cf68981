"""Measuring the lines that each test of a file runs, in a forked child with coverage."""

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
"""Prefix of the names of contexts for shared fixtures."""
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
    """Return the arguments of pytest for a batch of tests: their files, and options."""
    files = list(dict.fromkeys(name.partition("::")[0] for name in batch))
    return [*files, "-q", "-p", "no:cacheprovider", "--tb=short", f"--rootdir={Path.cwd()}", *more]


def send(events: TextIO, event: dict[str, Any]) -> None:
    """Send an event, as a line of JSON."""
    events.write(dumps(event) + "\n")
    events.flush()


def measured(batch: Sequence[str], include: Sequence[str], events: TextIO) -> dict[str, Any]:
    """Run a whole test file, and record the lines that each test runs.

    Processes that tests start are included if they inherit the environment and end normally.

    Returns:
        `tests`: for each test, its `seconds`, whether it `passed`, and the shared `fixtures` that it uses; `lines`: for
        each context (a test, a shared fixture, or "" for imports) and each file relative to the root, the line numbers
        as a bit mask in hexadecimal; `collecting`: the seconds before the first test.
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
    plugin = Noting(tracing, events)
    tracing.start()
    code = pytest.main(arguments(batch), plugins=[plugin])
    tracing.stop()
    tracing.save()
    send(events, {"patience": 300.0})
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
    """Return the test of a context, without the phase that pytest appends in processes started by tests."""
    for phase in (" (setup)", " (call)", " (teardown)"):
        context = context.removesuffix(phase)
    return context


class Noting:
    """A pytest plugin that sets the context of coverage to the current test."""

    def __init__(self, tracing: Any, events: TextIO) -> None:
        self._tracing, self._events = tracing, events
        self._contexts = [""]
        self._start = time.monotonic()
        self.collecting = 0.0
        self.tests: dict[str, dict[str, Any]] = {}

    def pytest_collection_finish(self) -> None:
        """Record the duration of the imports."""
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
        """Record the lines of a test, including those of its own fixtures."""
        send(self._events, {"test": item.nodeid, "patience": 400.0})
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
        """Record the lines of a shared fixture separately, because several tests depend on it."""
        if fixturedef.scope == "function":
            return (yield)
        with self._in(_context(fixturedef)):
            return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the times of set-up, test and tear-down."""
        test = self.tests[report.nodeid]
        test["seconds"] = round(test["seconds"] + report.duration, 3)
        test["passed"] = test["passed"] and not report.failed


def _context(fixture: Any) -> str:
    return f"{FIXTURE}{fixture.baseid}|{fixture.argname}"
