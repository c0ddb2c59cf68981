"""The lines that each test runs: measured once per test file, and kept in a cache."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.mutants.sources import TOPS, digests
from benchmarks.mutants.workers import Worker, share


@dataclass(slots=True)
class Test:
    """A test.

    Attributes:
        name: its name in pytest.
        seconds: its duration while lines are recorded.
        passed: whether it passes on the unchanged code.
        lines: the lines that it runs in each file, as a bit mask, including those of shared fixtures.
        size: number of these lines.
    """

    name: str
    seconds: float
    passed: bool
    lines: dict[str, int] = field(default_factory=dict)
    size: int = 0

    __test__ = False  # keeps pytest from collecting this class

    @property
    def file(self) -> str:
        """The test file."""
        return self.name.partition("::")[0]


@dataclass(slots=True)
class Coverage:
    """The lines that all tests run.

    Attributes:
        tests: all tests that can be run.
        refused: tests that fail on the unchanged code, and test files that cannot be run, which are left out.
    """

    tests: list[Test] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def usual(self) -> dict[str, float]:
        """Return the usual seconds of each test."""
        return {test.name: test.seconds for test in self.tests}


def measure(root: Path, cache: Path, jobs: int, wanted: Sequence[str] = ()) -> Coverage:
    """Measure each test file that was not measured with these sources yet, and return the results of all.

    Args:
        root: root of the checkout.
        cache: folder of measurements, which are keyed by a digest of the sources and one of the test file.
        jobs: number of workers.
        wanted: the test files to measure; all by default.
    """
    known = digests(root)
    folder = cache / "lines" / known.code
    folder.mkdir(parents=True, exist_ok=True)
    files = {file: folder / f"{Path(file).stem}-{known.tests[file]}.json" for file in wanted or known.tests}
    missing = [file for file, place in files.items() if not place.exists()]
    done: dict[str, dict[str, Any]] = {}
    if missing:
        print(f"measuring which lines {len(missing)} of {len(files)} files of tests run", flush=True)
        missing.sort(key=lambda file: -_seconds_before(cache, file))  # the longest first

        def note(file: str, found: dict[str, Any]) -> None:
            done[file] = found
            if found["outcome"] == "measured":  # otherwise it is tried again the next time
                keep = files[file].with_suffix(".part")
                keep.write_text(json.dumps(found))
                keep.replace(files[file])
            seconds = sum(test["seconds"] for test in found.get("tests", {}).values())
            print(f"{len(done):4d} of {len(missing)}  {seconds:6.1f} s  {file}  {_trouble(found)}", flush=True)

        share(missing, jobs, partial(Worker, root, cache / "kernels"), _measure_file, note)
    return _read({file: done.get(file) or json.loads(place.read_text()) for file, place in files.items()})


def _seconds_before(cache: Path, file: str) -> float:
    """Return the seconds of a test file in its latest measurement, possibly with other sources, or a guess."""
    found = sorted((cache / "lines").glob(f"*/{Path(file).stem}-*.json"), key=lambda place: place.stat().st_mtime)
    if not found:
        return 1.0
    tests = json.loads(found[-1].read_text()).get("tests", {})
    return float(sum(test["seconds"] for test in tests.values()))


def _measure_file(worker: Worker, file: str) -> dict[str, Any]:
    """Measure a test file. Failed tests are run once more without measuring."""
    found = worker.lines(file, [f"{worker.root}/{top}/*" for top in TOPS])
    for name, test in found.get("tests", {}).items():
        if not test["passed"]:
            test["passed"] = worker.tests([[name]], 600.0, {name: 30.0})["outcome"] == "passed"
    if found["outcome"] != "measured":
        found["log"] = worker.log()[-2000:]
    return found


def _trouble(found: dict[str, Any]) -> str:
    if found["outcome"] != "measured":
        return f"cannot be run: {found['outcome']} {found.get('test', '')}"
    failing = sum(not test["passed"] for test in found["tests"].values())
    return f"{failing} fail" if failing else ""


def _read(files: dict[str, dict[str, Any]]) -> Coverage:
    coverage = Coverage()
    for file, found in files.items():
        if found["outcome"] != "measured":
            coverage.refused.append(file)
            continue
        lines = {c: {p: int(m, 16) for p, m in masks.items()} for c, masks in found["lines"].items()}
        for name, known in found["tests"].items():
            if not known["passed"]:
                coverage.refused.append(name)
                continue
            own: dict[str, int] = defaultdict(int)
            for context in (name, *known["fixtures"]):
                for path, mask in lines.get(context, {}).items():
                    own[path] |= mask
            size = sum(mask.bit_count() for mask in own.values())
            coverage.tests.append(Test(name, known["seconds"], True, dict(own), size))
    return coverage
