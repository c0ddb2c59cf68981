"""Has items measured in a process of its own, keeps the time, and writes rows as they come."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from benchmarks.kernels.items import Item
from benchmarks.kernels.rows import ROOT, Rows

_START = 45.0
"""Seconds that a process may take to import what it needs."""


class Worker:
    """A process that measures, with everything that it starts in a group of its own.

    Args:
        command: what to start; see `benchmarks.kernels.worker` for what it answers.

    Raises:
        EOFError: from `answer`, when the process has ended.
        TimeoutError: from `answer`, when the time is up.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._orders, self._answers, self._buffer = self.process.stdin, self.process.stdout, b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)

    def order(self, order: dict[str, Any]) -> None:
        """Has it measure an item."""
        with suppress(BrokenPipeError):  # it has ended, which the next answer tells
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """What it says next, waited for until a moment of `time.monotonic`."""
        while b"\n" not in self._buffer:
            if not self._selector.select(max(0.0, deadline - monotonic())):
                raise TimeoutError
            found = os.read(self._answers.fileno(), 1 << 16)
            if not found:
                raise EOFError
            self._buffer += found
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> int:
        """Ends it and what it started; its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._selector.close()
        self._orders.close()
        self._answers.close()
        return self.process.wait()


def measure(
    wanted: Iterable[Item],
    rows: Rows,
    *,
    deadline: float,
    repeats: int,
    processes: int,
    told: Callable[[dict[str, Any]], None],
    command: Sequence[str] = (sys.executable, "-u", "-m", "benchmarks.kernels.worker"),
) -> list[Item]:
    """Measures what has no row yet.

    An item that raises, takes longer than its limit or ends its process has a row that says so, and the next one is
    taken in a new process. What was not come to within an item (`not_done`) is gone on with by the next call.

    Args:
        wanted: in order.
        rows: where rows go, and which are known.
        deadline: a moment of `time.monotonic` after which nothing is begun; what runs then is ended without a row.
        repeats: calls of a timing.
        processes: that compile at once.
        told: is shown each row.
        command: of the process that measures.

    Returns:
        what was not come to.
    """
    wanted = list(wanted)
    known = {row["key"] for row in rows if not row.get("not_done")}
    parts = sorted({item.part for item in wanted})
    waiting = [item for item in wanted if item.key not in known]
    worker: Worker | None = None

    def add(row: dict[str, Any]) -> None:
        rows.add(row)
        told(row)

    try:
        while waiting and monotonic() < deadline:
            item, start = waiting[0], worker is None
            worker = worker or Worker(command)
            limit = min(monotonic() + item.limit + _START * start, deadline)
            order = {"key": item.key, "repeats": repeats, "processes": processes, "parts": parts}
            worker.order(order | {"known": sorted(known), "seconds": limit - monotonic() - _START * start})
            try:
                while (answer := worker.answer(limit)).get("row", {}).get("key") != item.key:
                    if "row" in answer:
                        add(answer["row"])
                add(answer["row"])
            except (EOFError, TimeoutError) as error:
                code, worker = worker.end(), None
                if isinstance(error, TimeoutError) and monotonic() >= deadline:
                    break
                why = "took longer than" if isinstance(error, TimeoutError) else f"the process ended with {code} within"
                add({"key": item.key, "part": item.part, **item.given, "failed": f"{why} {item.limit:.0f} s"})
            waiting.pop(0)
    finally:
        if worker is not None:
            worker.end()
    return waiting
