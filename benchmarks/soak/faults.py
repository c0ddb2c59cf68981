"""The faults that are injected into a search.

Each function injects a fault and returns a description of it, or None if there was nothing to inject it into.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.soak.processes import family

STOPPED_SECONDS = 20.0
"""How long a process is stopped; shorter than the deadline of a candidate."""
LOCKED_SECONDS = 25.0
"""How long the database is locked; longer than a writer waits before it reports that the run pauses."""
FULL_SECONDS = 25.0
"""How long the disk is full."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a fault.

    Attributes:
        coordinator: process id of the search.
        database: the file of the database.
        run: number of the run in the database.
        small_disk: whether the database is on a small file system of our own, which may be filled.
        rng: generator of all random choices.
    """

    coordinator: int
    database: Path
    run: int
    small_disk: bool
    rng: random.Random


def kill_worker(target: Target) -> str | None:
    """Send SIGKILL to a worker."""
    return _signal(target, "worker", signal.SIGKILL)


def crash_worker(target: Target) -> str | None:
    """Send SIGSEGV to a worker, as a fault in native code would."""
    return _signal(target, "worker", signal.SIGSEGV)


def stop_worker(target: Target) -> str | None:
    """Stop a worker for a while."""
    return _pause(target, "worker")


def hang_worker(target: Target) -> str | None:
    """Stop a worker for good, so that the deadline must end it."""
    return _signal(target, "worker", signal.SIGSTOP)


def kill_coordinator(target: Target) -> str | None:
    """Send SIGKILL to the coordinator."""
    return _signal(target, "coordinator", signal.SIGKILL)


def terminate_coordinator(target: Target) -> str | None:
    """Send SIGTERM to the coordinator, as a job manager would."""
    return _signal(target, "coordinator", signal.SIGTERM)


def stop_coordinator(target: Target) -> str | None:
    """Stop the coordinator for a while."""
    return _pause(target, "coordinator")


def kill_raylet(target: Target) -> str | None:
    """Send SIGKILL to the raylet, Ray's process on the machine, which ends all workers."""
    return _signal(target, "raylet", signal.SIGKILL)


def lock_database(target: Target) -> str | None:
    """Lock the database for writing."""
    with closing(sqlite3.connect(target.database, isolation_level=None, timeout=10.0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return None
        time.sleep(LOCKED_SECONDS)
        other.execute("ROLLBACK")
    return f"the database was locked for {LOCKED_SECONDS:g} s"


def fill_disk(target: Target) -> str | None:
    """Fill the disk that holds the database."""
    if not target.small_disk:
        return None
    ballast = target.database.parent / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            for size in (2**20, 2**12, 1):
                with suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass
        time.sleep(FULL_SECONDS)
    finally:
        ballast.unlink(missing_ok=True)
    return f"the disk was full for {FULL_SECONDS:g} s"


def second_coordinator(target: Target) -> str | None:
    """Resume the run while it is running, which must be refused with the process id of its coordinator."""
    command = [sys.executable, "-m", "evonas", "resume", str(target.run), "--storage", str(target.database)]
    done = subprocess.run([*command, "--executor", "local"], capture_output=True, text=True, timeout=300, check=False)
    refused = done.returncode == 2 and f"process {target.coordinator} " in done.stderr
    return f"a second coordinator was {'refused' if refused else 'NOT REFUSED'}: {done.stderr.strip()[-200:]}"


FAULTS: dict[Callable[[Target], str | None], float] = {
    kill_worker: 3.0,
    crash_worker: 1.0,
    stop_worker: 1.0,
    hang_worker: 1.0,
    kill_coordinator: 2.0,
    terminate_coordinator: 1.0,
    stop_coordinator: 1.0,
    kill_raylet: 1.0,
    lock_database: 1.5,
    fill_disk: 1.5,
    second_coordinator: 0.5,
}
"""The faults and their relative frequencies."""


def choose(rng: random.Random) -> Callable[[Target], str | None]:
    """Choose a fault at random."""
    return rng.choices(list(FAULTS), list(FAULTS.values()))[0]


def _signal(target: Target, role: str, number: signal.Signals) -> str | None:
    found = [process for process in family(target.coordinator) if process.role == role]
    if not found:
        return None
    chosen = target.rng.choice(found)
    with suppress(ProcessLookupError):
        os.kill(chosen.pid, number)
    return f"{number.name} to {role} {chosen.pid} ({chosen.command})"


def _pause(target: Target, role: str) -> str | None:
    found = [process for process in family(target.coordinator) if process.role == role]
    if not found:
        return None
    pid = target.rng.choice(found).pid
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        os.kill(pid, signal.SIGCONT)
    return f"{role} {pid} was stopped for {STOPPED_SECONDS:g} s"
