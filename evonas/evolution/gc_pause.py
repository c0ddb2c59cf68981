"""Keeps Python's garbage collector from traversing all objects of a search again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = 50_000, 20, 20
"""Thresholds of the three generations, for `gc.set_threshold`."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Make garbage collections rare within the block, and exempt the objects that exist at its start.

    A candidate is some hundred containers, which reference counting frees once its result has been applied. With the
    default thresholds they reach the oldest generation before that, and every few thousand candidates the collector
    traverses that generation with the half million objects of PyTorch: a third of the coordinator's time.
    """
    before = gc.get_threshold()
    try:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
