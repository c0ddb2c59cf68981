"""The environment of a run: the versions and hardware that are recorded with it."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evonas.records.run_info import RunInfo

RECORDED = ("evonas", "torch", "triton", "ray", "numpy", "pillow", "pymoo", "scikit-learn", "sqlalchemy")
"""The distributions whose versions a run records."""

DECISIVE = ("evonas", "code", "torch", "numpy", "pillow", "pymoo", "scikit-learn", "compiler", "processor", "gpus")
"""The parts of the environment that can change which candidates a run draws and how they score."""

NOT_INSTALLED = "not installed"


def version_of(distribution: str) -> str:
    """The installed version of a distribution, or "not installed"."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return NOT_INSTALLED


def processor() -> str:
    """The name of the processor, as the operating system reports it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    """The machine's memory in GiB, as text; "unknown" where the system does not report it."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"  # not POSIX


def compiler_version() -> str:
    """The version line of the C++ compiler that builds kernels for CPUs, which affects the rounding of results."""
    from evonas.layers.backend import kernel_provider

    found = kernel_provider().compiler()
    return "none" if found is None else _output_of([found, "--version"]).partition("\n")[0] or "unknown"


def state_of_code() -> str:
    """The commit of a checkout with a digest of uncommitted changes, or the version of an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not ((root / ".git").exists() and (root / "pyproject.toml").exists()):
        return f"package {version_of('evonas')}"
    commit = _output_of(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]).strip()
    if not commit:
        return "a checkout, of which git tells nothing"  # runs have recorded this text
    # The folders with code, not notes and results.
    rooms = ("evonas", "db", "kernels", "search_spaces", "workers")
    changed = _output_of(["git", "-C", str(root), "diff", "HEAD", "--", *rooms])
    return f"commit {commit}" + (f", changed ({hashlib.sha256(changed.encode()).hexdigest()[:8]})" if changed else "")


def _output_of(command: list[str]) -> str:
    """What a program prints; empty if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gpus() -> list[str]:
    """The names of the GPUs that PyTorch sees."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def environment() -> dict[str, str]:
    """The environment that a run records: versions and hardware by name."""
    versions = {name: version_of(name) for name in RECORDED}
    return {
        **versions,
        "python": platform.python_version(),
        "code": state_of_code(),
        "compiler": compiler_version(),
        "system": platform.platform(terse=True),
        "host": platform.node(),
        "processor": processor(),
        "cores": str(usable_cores()),
        "memory": memory(),
        "gpus": ", ".join(gpus()) or "none",
    }


def changes(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The differences between two environments in the parts listed in `DECISIVE`, one phrase each."""
    differ = [name for name in DECISIVE if name in recorded and recorded[name] != now.get(name)]
    return [f"{name} was {recorded[name]} and is now {now.get(name, NOT_INSTALLED)}" for name in differ]


def warn_of_changes(run: RunInfo) -> None:
    """Log a warning if a run is about to continue in another environment than it began in."""
    found = changes(run.environment, environment())
    if found:
        logging.getLogger("evonas").warning(
            "run %d continues in another environment than it began in, and may find other candidates: %s",
            run.id,
            "; ".join(found),
        )
