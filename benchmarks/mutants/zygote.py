"""A process that imports slow libraries once, and forks a child for each list of tests.

`python -m benchmarks.mutants.zygote` runs in a copy of the project. It reads a request as one line of JSON, forks, and
answers with one line. It imports libraries such as Torch and Ray, but never the project itself, so that every child
imports the current files. A test that hangs is killed with all its descendants.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import select
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.mutants.sources import TOPS, walk

HEAVY = (
    "numpy", "torch", "torch.fx", "torch._dynamo", "torch.utils.data", "ray", "triton", "triton.language", "sqlalchemy",
    "sqlalchemy.orm", "alembic.command", "hypothesis", "pytest", "_pytest.assertion.rewrite", "networkx", "matplotlib",
    "matplotlib.figure", "scipy.stats", "sklearn.datasets", "pymoo.util.nds.non_dominated_sorting", "PIL.Image",
    "typer.testing", "rich.table", "jinja2", "coverage", "benchmarks.mutants.child",
)  # fmt: skip
"""Modules that are imported before any test, if installed. None is part of the project, except this package."""

COLLECTING_SECONDS = 90.0
"""Seconds that a child may spend on importing tests."""
PATIENCE = 10.0
"""A test hangs if it takes this many times as long as usual, and longer than the patience of the request."""
WAITING = 6.0
"""A test that waits for other processes may take this many times as long."""
MEMORY = 12 * 2**30
"""Limit on the memory of a process, in bytes, because a mutant may fill a list forever."""
SUBREAPER = 36  # option of prctl: orphaned descendants become children of this process


def main() -> None:
    """Answer requests until the input ends."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # output of packages during import must not mix with answers
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it when it is imported
    wanted = _imported()
    for name in HEAVY:
        if name.split(".")[0] in wanted:
            with suppress(ImportError):
                importlib.import_module(name)
    os.write(answers, b'{"ready": true}\n')
    waiting = b""
    while True:
        read = os.read(0, 2**20)
        if not read:
            return
        waiting += read
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            os.write(answers, json.dumps(run_request(json.loads(line))).encode() + b"\n")


def _imported() -> set[str]:
    """Return the packages that the project and its tests import, and those that run tests."""
    found = {"pytest", "_pytest", "coverage", "benchmarks"}
    for top in (*TOPS, "tests"):
        for path in walk(Path(top)):
            if path.suffix == ".py":
                found.update(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.M))
    return found


def run_request(request: dict[str, Any]) -> dict[str, Any]:
    """Run one request in a child.

    Args:
        request: the request for `benchmarks.mutants.child.run`, with these additions: `place`, a folder for the child's
            temporary files, which is emptied; `log`, a file for its output; `environment`, variables to set; `usual`,
            the usual seconds of each test; and `patience`, the seconds that every test may run.

    Returns:
        `outcome`: "passed", "failed", "hung", "died" (the process ended without a report), "broken" (no tests could be
        run), or "gone" (the parent process has ended); `test` and `detail`, unless it passed; `done`, the number of
        tests that passed; `left`, the tests that were not run because of the limit; and `seconds`.
    """
    place = Path(request["place"])
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    place.chmod(0o755)  # for servers that run as another user
    reading, writing = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(request, place, writing)
    os.close(writing)
    answer = _follow(child, reading, request["usual"], request["patience"])
    os.close(reading)
    _end(child)
    shutil.rmtree(place, ignore_errors=True)
    return {**answer, "seconds": round(time.monotonic() - start, 2)}


def _be_child(request: dict[str, Any], place: Path, events: int) -> None:
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log = os.open(request["log"], os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        with suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        os.environ.update(request["environment"], TMPDIR=str(place))
        import tempfile

        tempfile.tempdir = None
        from benchmarks.mutants.child import run

        with os.fdopen(events, "w", buffering=1) as stream:
            run(request, stream)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _follow(child: int, reading: int, usual: dict[str, float], least: float) -> dict[str, Any]:
    """Read the child's events until it is done or hangs, or the parent process has ended."""
    waiting, current, passed = b"", "", 0
    watch = Watch(child, COLLECTING_SECONDS)
    while True:
        ready, _, _ = select.select([reading, 0], [], [], 0.5)
        if 0 in ready:  # requests come one at a time, so this means that the parent has ended
            return {"outcome": "gone", "test": current, "done": passed}
        if not ready:
            if watch.over():
                return {"outcome": "hung", "test": current or "collecting", "done": passed}
            continue
        read = os.read(reading, 2**16)
        if not read:
            return {"outcome": "died", "test": current or "collecting", "done": passed}
        waiting += read
        while b"\n" in waiting:
            line, waiting = waiting.split(b"\n", 1)
            event = json.loads(line)
            if "outcome" in event:
                return {**event, "done": passed}
            passed += event.get("passed", 0)
            current = event.get("test", "")
            patience = max(least, PATIENCE * usual.get(current, 0.0)) if current else COLLECTING_SECONDS
            watch = Watch(child, event.get("patience", patience))


class Watch:
    """Watches whether a process takes too long: it computes beyond our patience, or waits several times as long.

    It may have to wait for a compiler, if a mutant changes generated code.

    Args:
        process: id of the process.
        patience: seconds that it may take.
    """

    def __init__(self, process: int, patience: float) -> None:
        self._process, self._patience = process, patience
        self._start, self._before = time.monotonic(), self._computed()

    def over(self) -> bool:
        """Return whether the process takes too long."""
        by_the_clock = time.monotonic() - self._start
        if by_the_clock < self._patience:
            return False
        return self._computed() - self._before > self._patience or by_the_clock > WAITING * self._patience

    def _computed(self) -> float:
        """Return the CPU seconds of the process, without those of processes that it started."""
        try:
            numbers = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()  # without /proc, use the clock instead
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def _end(child: int) -> None:
    """Kill the child and its descendants, and wait for them."""
    for _ in range(50):
        for pid in _descendants() | {child}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.02)


def _descendants() -> set[int]:
    """Return the descendants of this process, read from /proc; none without /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found: set[int] = set()
    front = [os.getpid()]
    while front:
        more = children.get(front.pop(), [])
        found.update(more)
        front.extend(more)
    return found


if __name__ == "__main__":
    main()
    sys.exit(0)
