"""Writing to a store that may be away for a while: full, locked, or a server that is being restarted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, sleep

from evonas.errors import StorageUnavailableError

PATIENCE_SECONDS = 600.0
"""How long a search waits for its database, while its workers go on with what they have."""
RETRY_SECONDS = 2.0

_log = logging.getLogger("evonas")


def patiently(write: Callable[[], None]) -> None:
    """Calls `write` until it succeeds; says when it begins to wait, and when it goes on.

    `write` may have taken effect although it raised, where a connection broke at the wrong moment.

    Raises:
        StorageUnavailableError: the last of them, after `PATIENCE_SECONDS`.
        StorageError: at once, where waiting does not help.
    """
    since: float | None = None
    while True:
        try:
            write()
        except StorageUnavailableError as error:
            if since is None:
                since = monotonic()
                _log.warning(
                    "the run pauses: %s. It goes on by itself once that is mended, and gives up after %g minutes; "
                    "Ctrl-C stops it. Nothing recorded is lost",
                    error,
                    PATIENCE_SECONDS / 60,
                )
            elif monotonic() - since > PATIENCE_SECONDS:
                raise
            sleep(RETRY_SECONDS)
        else:
            if since is not None:
                _log.warning("the run goes on, after a pause of %.0f s", monotonic() - since)
            return
