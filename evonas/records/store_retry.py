"""Waiting for a store that is temporarily unavailable: its disk is full, it is locked, or its server restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, sleep

from evonas.errors import StorageUnavailableError

PATIENCE_SECONDS = 600.0
"""How long a search waits for its database. Its workers go on with their tasks meanwhile."""
RETRY_SECONDS = 2.0
"""Seconds between attempts."""

_log = logging.getLogger("evonas")


def retry_while_unavailable(write: Callable[[], None]) -> None:
    """Call `write` until it succeeds, and log when the wait begins and ends.

    Args:
        write: must be safe to repeat, since it may have taken effect although it raised an error.

    Raises:
        StorageUnavailableError: the store is still unavailable after `PATIENCE_SECONDS`.
        StorageError: another error, for which waiting does not help.
    """
    since: float | None = None
    while True:
        try:
            write()
        except StorageUnavailableError as error:
            if since is None:
                since = monotonic()
                _log.warning(
                    "the run pauses: %s. It continues once the database can be written, and gives up after %g minutes; "
                    "Ctrl-C stops it. Nothing that was recorded is lost",
                    error,
                    PATIENCE_SECONDS / 60,
                )
            elif monotonic() - since > PATIENCE_SECONDS:
                raise
            sleep(RETRY_SECONDS)
        else:
            if since is not None:
                _log.warning("the run continues after a pause of %.0f s", monotonic() - since)
            return
