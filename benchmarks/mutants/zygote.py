"""A process that has imported what is slow to import, and forks a child for each list of tests.

`python -m benchmarks.mutants.zygote` runs in a copy of the project. It reads a request as one line of JSON, forks, and
answers with one line. Torch, Ray and the like are imported once and the project itself never, so that every child
imports it from the files as they are then. A test that hangs is killed with everything that descended from it.
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
"""What is imported before any test, where it is installed. Nothing of the project's but this package."""

COLLECTING_SECONDS = 90.0
"""For which a child may import tests."""
PATIENCE = 10.0
"""A test hangs that takes this many times as long as usual, and more than the least patience of the request."""
WAITING = 6.0
"""One that waits for other processes has this many times as long."""
MEMORY = 12 * 2**30
"""Bytes of its own that a process may take: a mutant may fill a list for ever."""
SUBREAPER = 36  # of prctl: orphans among the descendants become ours


def main() -> None:
    """Answers requests until there are none."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.dup(1)
    os.dup2(2, 1)  # what a package prints while it is imported is no answer
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads it while it is imported
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
            os.write(answers, json.dumps(carry_out(json.loads(line))).encode() + b"\n")


def _imported() -> set[str]:
    """Packages that the project here and its tests name where they import, and those that run tests."""
    found = {"pytest", "_pytest", "coverage", "benchmarks"}
    for top in (*TOPS, "tests"):
        for path in walk(Path(top)):
            if path.suffix == ".py":
                found.update(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(), re.M))
    return found


def carry_out(request: dict[str, Any]) -> dict[str, Any]:
    """Runs one request in a child.

    Args:
        request: for `benchmarks.mutants.child.run`, and beside that `place`, a folder for the child's temporary
            files, which is emptied; `log`, a file for what it prints; `environment`, variables to set; `usual`, the
            seconds that each test takes; and `patience`, those for which any may run.

    Returns:
        `outcome`: "passed", "failed", "hung", "died" (the process ended without a word), "broken" (no tests could be
        run), or "gone" (nobody waits for the answer); `test` and `detail` for all but the first; `done`, the number
        of tests that passed, and `left`, those that the limit cut off; `seconds`.
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

        with os.fdopen(events, "w", buffering=1) as told:
            run(request, told)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _follow(child: int, reading: int, usual: dict[str, float], least: float) -> dict[str, Any]:
    """Reads what the child tells until it is done, hangs, or nobody waits any more."""
    waiting, current, passed = b"", "", 0
    watch = Watch(child, COLLECTING_SECONDS)
    while True:
        ready, _, _ = select.select([reading, 0], [], [], 0.5)
        if 0 in ready:  # requests come one at a time: this is the end of whoever sent them
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
    """Whether a process takes too long: it computes for longer than our patience, or waits for several times as long.

    It may wait for a compiler, which is started anew for whatever a mutant changes in generated code.

    Args:
        process: its number.
        patience: in seconds.
    """

    def __init__(self, process: int, patience: float) -> None:
        self._process, self._patience = process, patience
        self._start, self._before = time.monotonic(), self._computed()

    def over(self) -> bool:
        """Whether it does."""
        by_the_clock = time.monotonic() - self._start
        if by_the_clock < self._patience:
            return False
        return self._computed() - self._before > self._patience or by_the_clock > WAITING * self._patience

    def _computed(self) -> float:
        """Seconds of a processor that it has taken, without those of processes that it started."""
        try:
            numbers = Path(f"/proc/{self._process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return time.monotonic()  # where there is no /proc, the clock has to do
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def _end(child: int) -> None:
    """Kills the child and all that descended from it, and waits for them."""
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
    """Processes that descend from this one, as /proc shows them; none where there is no /proc."""
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
