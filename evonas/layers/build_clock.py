"""A clock for the time that this process spends building kernels, so that it is not charged to a candidate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import process_time

_spent = [0.0, 0.0]
"""Core-seconds of this process, and of the compilers that it called."""
_depth = [0]
"""Number of `building` blocks that are open."""


def own_seconds() -> float:
    """Core-seconds that this process has spent building kernels, without the compilers that it called."""
    return _spent[0]


def all_seconds() -> float:
    """Core-seconds that this process and the compilers that it called have spent building kernels."""
    return _spent[0] + _spent[1]


@contextmanager
def building() -> Iterator[None]:
    """Counts the time of the block; the time of nested blocks is counted once."""
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
    """Core-seconds of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system
