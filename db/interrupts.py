"""Keeping Ctrl-C from interrupting a transaction."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


@contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Defer the handlers of SIGINT, SIGTERM and SIGHUP to the end of the block.

    An exception between the beginning of a transaction and the code that ends it would leave the transaction open, and
    the database locked for everybody, including this process. Signals interrupt only the main thread, so this does
    nothing in others.
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
