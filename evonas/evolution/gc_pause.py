"""Keeping Python's collector of cyclic garbage from walking over a whole search again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLDS = 50_000, 20, 20
"""Containers made and not freed before the youngest are looked at; of those looks before the next generation's."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Collects seldom within the block, and does not look at what is there when it begins.

    A candidate is some hundred containers, which are freed by their counts of references once it has been shown.
    With the usual thresholds they reach the oldest generation before, and it is walked over, the half a million
    objects of PyTorch included, every few thousand candidates: a third of the coordinator's time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
