"""Runs the measuring process, watches its time, and writes rows as they come."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from benchmarks.kernels.items import Item
from benchmarks.kernels.rows import ROOT, Rows

_START = 45.0
"""The seconds that a process may take for its imports."""


class Worker:
    """A measuring process, in a process group of its own with everything that it starts.

    Args:
        command: the command that starts it; `benchmarks.kernels.worker` describes its answers.

    Raises:
        EOFError: from `answer`, if the process has ended.
        TimeoutError: from `answer`, if the time is up.
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
        """Orders it to measure an item."""
        with suppress(BrokenPipeError):  # the process has ended, as the next call of `answer` reports
            self._orders.write(json.dumps(order).encode() + b"\n")
            self._orders.flush()

    def answer(self, deadline: float) -> dict[str, Any]:
        """Its next answer, which is waited for until `deadline` on the clock `time.monotonic`."""
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
        """Ends the process and everything that it started; returns its exit code."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._selector.close()
        self._orders.close()
        self._answers.close()
        return self.process.wait()


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure, and with what effort.

    Attributes:
        deadline: the time on the clock `time.monotonic` after which no item is begun; an item that runs then is ended
            without a row.
        repeats: the number of calls of each timing.
        processes: how many processes compile at the same time.
    """

    deadline: float
    repeats: int
    processes: int


def measure(
    wanted: Iterable[Item],
    rows: Rows,
    effort: Effort,
    *,
    on_row: Callable[[dict[str, Any]], None],
    command: Sequence[str] = (sys.executable, "-u", "-m", "benchmarks.kernels.worker"),
) -> list[Item]:
    """Measures the items that have no row yet.

    An item that raises, takes longer than its limit or ends its process gets a row that says so, and the next item runs
    in a new process. Tasks within an item that were not done (`not_done`) are continued by the next call.

    Args:
        wanted: the items, in order.
        rows: the rows, which say what has been measured and receive the new rows.
        effort: how long to measure, and with what effort.
        on_row: receives each row.
        command: the command that starts the measuring process.

    Returns:
        The items that were not begun.
    """
    wanted = list(wanted)
    known = {row["key"] for row in rows if not row.get("not_done")}
    parts = sorted({item.part for item in wanted})
    waiting = [item for item in wanted if item.key not in known]
    worker: Worker | None = None

    def add(row: dict[str, Any]) -> None:
        rows.add(row)
        on_row(row)

    try:
        while waiting and monotonic() < effort.deadline:
            item, start = waiting[0], worker is None
            worker = worker or Worker(command)
            limit = min(monotonic() + item.limit + _START * start, effort.deadline)
            order = {"key": item.key, "repeats": effort.repeats, "processes": effort.processes, "parts": parts}
            worker.order(order | {"known": sorted(known), "seconds": limit - monotonic() - _START * start})
            try:
                while (answer := worker.answer(limit)).get("row", {}).get("key") != item.key:
                    if "row" in answer:
                        add(answer["row"])
                add(answer["row"])
            except (EOFError, TimeoutError) as error:
                code, worker = worker.end(), None
                if isinstance(error, TimeoutError) and monotonic() >= effort.deadline:
                    break
                why = "took longer than" if isinstance(error, TimeoutError) else f"the process ended with {code} within"
                add({"key": item.key, "part": item.part, **item.given, "failed": f"{why} {item.limit:.0f} s"})
            waiting.pop(0)
    finally:
        if worker is not None:
            worker.end()
    return waiting
