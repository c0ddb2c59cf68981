"""What a run is recorded with: versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

RECORDED = ("evonas", "torch", "ray", "numpy", "pymoo", "sqlalchemy")
"""Distributions whose versions a run records."""

NOT_INSTALLED = "not installed"


def version_of(distribution: str) -> str:
    """The installed version of a distribution, or "not installed"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def processor() -> str:
    """The processor's name, as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Versions and hardware by name, as a run records them."""
    versions = {name: version_of(name) for name in RECORDED}
    return {
        **versions,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "processor": processor(),
        "cores": str(usable_cores()),
    }
