"""One coordinator a run: who is at work on it, and when another may take its place.

A coordinator claims its run in the store, renews the claim while it lives, and gives it up at its end.
Another that wants the run is refused while the first is there. Whether it is, its own machine knows: a
process that is gone has left the run, one that was merely stopped has not. From another machine there is
only its silence to go by.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from evonas.errors import EvonasError, StorageError, UsageError

if TYPE_CHECKING:
    from evonas.records.store import Store

BEAT_SECONDS = 10.0
"""Between renewals of a claim."""
LOST_SECONDS = 60.0
"""After this long without one, a coordinator on another machine counts as gone: it missed several in a row."""


@dataclass(frozen=True, slots=True)
class Coordinator:
    """A process that works on a run.

    Attributes:
        token: tells this claim from any other.
        host: the machine's name, for people.
        pid: the process on it.
        place: where `pid` means something: this boot of this machine, and its space of process ids.
        started: when the process started, by the machine's clock of ticks; empty where that is not known.
        since: when it claimed the run, in UTC.
    """

    token: str
    host: str
    pid: int
    place: str
    started: str
    since: datetime

    @staticmethod
    def here() -> Coordinator:
        """A new claim of this process."""
        pid = os.getpid()
        return Coordinator(uuid4().hex, socket.gethostname(), pid, _place(), _started(pid), datetime.now(UTC))

    def as_dict(self) -> dict[str, str | int]:
        """For JSON and for people: which process it is, and since when."""
        return {"host": self.host, "pid": self.pid, "since": self.since.isoformat()}

    def gone(self, silent: float) -> bool:
        """Whether the process has ended.

        Args:
            silent: seconds since its claim was last renewed.
        """
        if self.place != _place():
            return silent >= LOST_SECONDS
        try:
            os.kill(self.pid, 0)  # asks whether there is such a process, and does nothing to it
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # there is, and it is another user's
        # Process ids are used again; and one that was killed keeps its own until its parent has looked.
        return _started(self.pid) not in ("", self.started)


def held_by_another(run_id: int, other: Coordinator, silent: float) -> UsageError:
    """The error for a run that a coordinator is at work on."""
    who = f"process {other.pid} on {other.host}, since {other.since:%Y-%m-%d %H:%M:%S} UTC"
    if other.place == _place():
        advice = "let it finish, or stop it first"
    else:
        left = max(1.0, LOST_SECONDS - silent)
        advice = f"it was heard of {silent:.0f} s ago; if it is gone, the run is free in {left:.0f} s"
    return UsageError(f"run {run_id} has a coordinator: {who}; {advice}")


def taken_over(run_id: int, other: Coordinator | None) -> StorageError:
    """The error for a coordinator whose run is another's by now."""
    by = f" by process {other.pid} on {other.host}" if other else ""
    return StorageError(
        f"run {run_id} was taken over{by} while this process was not heard of; what it recorded is kept"
    )


def check_free(store: Store, run_id: int) -> None:
    """Raise `UsageError` when a coordinator is at work on the run; a claim may still come first."""
    mine = Coordinator.here()
    store.claim(run_id, mine)
    store.release(run_id, mine)


@contextmanager
def claimed(store: Store, run_id: int) -> Iterator[None]:
    """The run is this process's within the block.

    Raises:
        UsageError: when another coordinator is at work on it.
    """
    mine, ended = Coordinator.here(), threading.Event()
    store.claim(run_id, mine)

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            # Whatever is wrong here, the search meets it too when it records, and says so.
            with suppress(EvonasError):
                store.renew(run_id, mine)

    # A thread of its own, because an evaluation in this process, or the start of Ray, takes as long as it takes.
    beating = threading.Thread(target=beat, name="evonas-heartbeat", daemon=True)
    beating.start()
    try:
        yield
    finally:
        ended.set()
        beating.join()
        with suppress(StorageError):  # unreleased, it is free as soon as this process has ended
            store.release(run_id, mine)


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"  # containers of one machine count from 1 each
    except OSError:
        return socket.gethostname()  # not Linux


def _started(pid: int) -> str:
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "ended" if state in "ZX" else fields[18]  # field 22 of the line, starttime
