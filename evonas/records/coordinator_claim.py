"""Claiming a run, so that only one coordinator works on it.

A coordinator claims its run in the store, renews the claim while it lives, and releases it at its end. Another one
that wants the run is refused until the first has released it or is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from evonas.errors import EvonasError, StorageError
from evonas.records.coordinator import Coordinator
from evonas.records.store import Store

BEAT_SECONDS = 10.0
"""Seconds between renewals of a claim."""


def check_free(store: Store, run_id: int) -> None:
    """Check that no coordinator is working on a run. One may still claim it before the caller does.

    Raises:
        UsageError: another coordinator is working on it.
    """
    mine = Coordinator.here()
    store.claim(run_id, mine)
    store.release(run_id, mine)


@contextmanager
def claimed(store: Store, run_id: int) -> Iterator[None]:
    """Hold this process's claim on a run within the block, and renew it from a thread.

    Raises:
        UsageError: another coordinator is working on the run.
    """
    mine, ended = Coordinator.here(), threading.Event()
    store.claim(run_id, mine)

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            # The search meets the same error when it records, and reports it.
            with suppress(EvonasError):
                store.renew(run_id, mine)

    # In a thread of its own, because an evaluation in this process or the start of Ray can block for long.
    beating = threading.Thread(target=beat, name="evonas-heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(StorageError):  # an unreleased run is free as soon as this process has ended
            store.release(run_id, mine)
