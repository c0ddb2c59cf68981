"""How long this process has spent on building kernels, so that the work which needs them is not charged with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time

_spent = [0.0, 0.0]
_depth = [0]


def own_seconds() -> float:
    """Core-seconds of this process on building kernels since its start, compilers that it called left out."""
    return _spent[0]


def all_seconds() -> float:
    """Core-seconds on building kernels since the process's start, compilers that it called included."""
    return _spent[0] + _spent[1]


@contextmanager
def building() -> Iterator[None]:
    """Counts the block; one within another counts once."""
    _depth[0] += 1
    own, called = process_time(), _called()
    try:
        yield
    finally:
        _depth[0] -= 1
        if _depth[0] == 0:
            _spent[0] += process_time() - own
            _spent[1] += _called() - called


def _called() -> float:
    """Core-seconds of processes that this one has called and that have ended."""
    times = os.times()
    return times.children_user + times.children_system
