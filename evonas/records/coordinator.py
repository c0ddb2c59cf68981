"""The process that works on a run: how it identifies itself, and when it counts as gone.

Two processes must not work on one run. On its own machine a coordinator is gone exactly when its process has ended; a
process that is merely stopped still holds its run. Nothing can be asked of a process on another machine, so there the
time since the last renewal of its claim decides.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from evonas.errors import StorageError, UsageError
from evonas.records.run_info import RunStatus

KILLED = "killed"
LOST_SECONDS = 60.0
"""Seconds without a renewal after which a coordinator on another machine counts as gone: it missed several in a row."""


@dataclass(frozen=True, slots=True)
class Coordinator:
    """A process that works on a run.

    Attributes:
        token: distinguishes this claim from every other.
        host: the machine's name, for people.
        pid: the process on it.
        place: where `pid` is valid: this boot of this machine, and its namespace of process ids.
        started: when the process started, in ticks of the machine's clock; empty where that is not known.
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
        """The host, the process id and the time of the claim, for JSON."""
        return {"host": self.host, "pid": self.pid, "since": self.since.isoformat()}

    def gone(self, silent: float) -> bool:
        """Whether the process has ended.

        Args:
            silent: seconds since its claim was last renewed.
        """
        if self.place != _place():
            return silent >= LOST_SECONDS
        try:
            os.kill(self.pid, 0)  # signal 0 only asks whether the process exists
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # it exists and belongs to another user
        # Process ids are reused, and a killed process keeps its id until its parent has waited for it.
        return _started(self.pid) not in ("", self.started)


def state(status: RunStatus, coordinator: Coordinator | None) -> str:
    """The status of a run as a word, which is "killed" if it counts as running but its process is gone.

    Args:
        status: the recorded status.
        coordinator: who has claimed the run; one on another machine counts as being at work.
    """
    gone = coordinator is None or coordinator.gone(0.0)
    return KILLED if status is RunStatus.RUNNING and gone else status.value


def held_by_another(run_id: int, other: Coordinator, silent: float) -> UsageError:
    """The error for a run that another coordinator is working on; `silent` is as in `Coordinator.gone`."""
    who = f"process {other.pid} on {other.host}, since {other.since:%Y-%m-%d %H:%M:%S} UTC"
    if other.place == _place():
        advice = "let it finish, or stop it first"
    else:
        left = max(1.0, LOST_SECONDS - silent)
        advice = f"its last sign of life was {silent:.0f} s ago; if it is gone, the run is free in {left:.0f} s"
    return UsageError(f"run {run_id} has a coordinator: {who}; {advice}")


def taken_over(run_id: int, other: Coordinator | None) -> StorageError:
    """The error for a coordinator that has lost its run to another."""
    by = f" by process {other.pid} on {other.host}" if other else ""
    return StorageError(
        f"run {run_id} was taken over{by} because this process did not renew its claim; what it recorded is kept"
    )


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"  # each container counts its processes from 1
    except OSError:
        return socket.gethostname()  # not Linux


def _started(pid: int) -> str:
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "ended" if state in "ZX" else fields[18]  # field 22 of the line, starttime
