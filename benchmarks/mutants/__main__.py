"""The command line of `benchmarks.mutants`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import benchmarks.mutants
from benchmarks.mutants import marks
from benchmarks.mutants.changes import Mutant
from benchmarks.mutants.choosing import Chooser
from benchmarks.mutants.coverage_map import Coverage, measure
from benchmarks.mutants.judging import Verdicts, judge
from benchmarks.mutants.sampling import sample
from benchmarks.mutants.sources import digests, mutable
from benchmarks.mutants.summary import report
from benchmarks.mutants.workers import Worker

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge mutants. The exit code is 1 if a known fault was not caught, and 2 if a list does not match the code."""
    given = _read(arguments)
    root = given.root.resolve()
    try:
        mutants, first = _known(root, given) if given.known else (_sample(root, given), {})
        listed = marks.equivalents(given.equivalent)
        for old in marks.outdated(root, listed):
            raise marks.ListError(f"{given.equivalent}: no mutant changes “{old.old}” of {old.path} so any more")
    except marks.ListError as error:
        print(error, file=sys.stderr)
        return 2
    if given.show:
        for mutant in mutants:
            print(f"{mutant.path}:{mutant.line}  {mutant.kind}: {mutant.change}")
        return 0
    reasons = {m.key: one.reason for m in mutants for one in listed if one.is_of(m)}
    try:
        named = {test.partition("::")[0] for tests in first.values() for test in tests}
        coverage = measure(root, given.cache, given.jobs, sorted(named) if all(first.values()) else ())
        _say_refused(coverage)
        verdicts = Verdicts(given.cache / "verdicts.jsonl", digests(root), given.limit)
        chooser = Chooser(root, coverage)
        choose = partial(_choose, chooser, first)
        open_ones = [mutant for mutant in mutants if mutant.key not in reasons]
        employ = partial(Worker, root, given.cache / "kernels", given.patience)
        judge(open_ones, verdicts, choose, coverage.usual(), employ, given.jobs)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    facts = {
        "sample": None if given.known else given.sample,
        "seed": None if given.known else given.seed,
        "digest": verdicts.digests.whole,
        "limit": given.limit,
        "versions": {"python": platform.python_version(), "pytest": version("pytest"), "coverage": version("coverage")},
        "tests": len(coverage.tests),
        "tests that fail as it is": coverage.refused,
    }
    whole = report(mutants, verdicts.known, reasons, facts, given.output)
    return 0 if whole or not given.known else 1


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants",
        description=benchmarks.mutants.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "evonas-mutants"
    parser.add_argument("--sample", type=int, default=200, help="number of mutants; 200 by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--only", action="append", default=[], metavar="PATH", help="a file or folder; may be repeated")
    parser.add_argument("--known", nargs="?", type=Path, const=marks.KNOWN, metavar="FILE", help="replay known faults")
    parser.add_argument(
        "--equivalent", type=Path, default=marks.EQUIVALENT, metavar="FILE", help="mutants that are not faults"
    )
    parser.add_argument("--show", action="store_true", help="list the mutants, and run nothing")
    parser.add_argument("--jobs", type=int, default=2, help="number of copies in which tests run in parallel")
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds of tests per mutant")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds that every test may run")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout, if it is not the current folder")
    parser.add_argument("--cache", type=Path, default=home, help="folder for measurements and verdicts")
    parser.add_argument("-o", "--output", type=Path, help="JSON file for the result")
    given = parser.parse_args(arguments)
    given.only = tuple(Path(os.path.relpath(given.root / one, given.root)).as_posix() for one in given.only)
    if given.sample < 1 or given.jobs < 1 or given.limit <= 0:
        parser.error("--sample, --jobs and --limit must be above 0")
    if given.known is not None and not given.known.exists():
        parser.error(f"--known {given.known}: there is no such file")
    if not mutable(given.root, given.only):
        parser.error(f"there is no code under {', '.join(given.only) or given.root}")
    given.cache = given.cache.resolve()
    return given


def _sample(root: Path, given: argparse.Namespace) -> list[Mutant]:
    return sample(root, mutable(root, given.only), given.sample, given.seed)


def _known(root: Path, given: argparse.Namespace) -> tuple[list[Mutant], dict[str, tuple[str, ...]]]:
    faults = [f for f in marks.faults(given.known) if not given.only or f.path in mutable(root, given.only)]
    pairs = [(fault.mutant(root), fault.tests) for fault in faults]
    return [mutant for mutant, _ in pairs], {mutant.key: tests for mutant, tests in pairs}


def _choose(chooser: Chooser, first: dict[str, tuple[str, ...]], mutant: Mutant) -> Any:
    return chooser.choose(mutant, first.get(mutant.key, ()))


def _say_refused(coverage: Coverage) -> None:
    for name in coverage.refused:
        print(f"left out, for it fails on the code as it is: {name}", file=sys.stderr)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # a job manager's SIGTERM acts like Ctrl-C
    sys.exit(main())
