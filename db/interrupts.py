"""Transactions that Ctrl-C does not cut in two."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Signals that would raise in the midst of the block raise at its end.

    An exception that falls between the beginning of a transaction and the code that would end it leaves it open, and
    the database locked for everybody, the process itself included. Only the main thread is interrupted, so elsewhere
    this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[tuple[int, FrameType | None]] = []
    before: dict[signal.Signals, Callable[[int, FrameType | None], Any]] = {}
    try:
        for one in _SIGNALS:
            handler = signal.getsignal(one)
            if callable(handler):
                before[one] = handler
                signal.signal(one, lambda number, frame: noted.append((number, frame)))
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        if noted:
            number, frame = noted[0]
            before[signal.Signals(number)](number, frame)
