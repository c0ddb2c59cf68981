"""The processes of a search, read from /proc: their roles and their memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    """The coordinator, or a process that descends from it.

    Attributes:
        pid: its process id.
        role: "coordinator", "worker", "raylet", or "other" for the rest of Ray.
        command: its command line; a worker of Ray is named for what it does.
        resident: bytes of memory that it has, shared ones included.
    """

    pid: int
    role: str
    command: str
    resident: int


def family(coordinator: int) -> list[Process]:
    """Return the coordinator and its descendants, without those that have ended."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):
            continue  # it ended in the meantime
        if state not in "ZX":
            children.setdefault(int(parent), []).append(int(status.parent.name))
    found, queue = [], [coordinator]
    while queue:
        pid = queue.pop()
        queue += children.get(pid, [])
        process = _process(pid, coordinator)
        if process is not None:
            found.append(process)
    return found


def alive(pid: int) -> bool:
    """Return whether a process is running, and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _process(pid: int, coordinator: int) -> Process | None:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return None
    program = command.partition(" ")[0].rpartition("/")[2]
    if pid == coordinator:
        role = "coordinator"
    elif program == "raylet":
        role = "raylet"
    elif command.startswith("ray::") and not any(word in command for word in ("IDLE", "Agent")):
        role = "worker"
    else:
        role = "other"
    shown = f"{program} {command.partition(' ')[2]}".strip()  # without the path, which depends on the machine
    return Process(pid, role, shown[:80], resident)
