"""What a run is recorded with: versions and hardware."""

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

RECORDED = ("evonas", "torch", "triton", "ray", "numpy", "pymoo", "scikit-learn", "sqlalchemy")
"""Distributions whose versions a run records."""

DECISIVE = ("evonas", "code", "torch", "numpy", "pymoo", "scikit-learn", "compiler", "processor", "gpus")
"""Of what a run records: what decides which candidates it draws and how they score."""

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


def memory() -> str:
    """The machine's memory, in GiB."""
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"  # not POSIX


def compiler_version() -> str:
    """The C++ compiler that kernels for CPUs are built with, as it names itself; it decides last digits."""
    from evonas.layers.backend import kernels

    found = kernels().compiler()
    return "none" if found is None else _said([found, "--version"]).partition("\n")[0] or "unknown"


def state_of_code() -> str:
    """The commit of a checkout, with a digest of what was changed since; of a package, its version."""
    root = Path(__file__).resolve().parents[2]
    if not ((root / ".git").exists() and (root / "pyproject.toml").exists()):
        return f"package {version_of('evonas')}"
    commit = _said(["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]).strip()
    if not commit:
        return "a checkout, of which git tells nothing"
    # The rooms at the top, not notes and results beside them.
    rooms = ("evonas", "db", "kernels", "search_spaces", "workers")
    changed = _said(["git", "-C", str(root), "diff", "HEAD", "--", *rooms])
    return f"commit {commit}" + (f", changed ({hashlib.sha256(changed.encode()).hexdigest()[:8]})" if changed else "")


def _said(command: list[str]) -> str:
    """What a program prints, empty where it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gpus() -> list[str]:
    """The GPUs that PyTorch sees, by name."""
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def environment() -> dict[str, str]:
    """Versions and hardware by name, as a run records them."""
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
    """What is not as it was, of what decides which candidates are drawn and how they score."""
    differ = [name for name in DECISIVE if name in recorded and recorded[name] != now.get(name)]
    return [f"{name} was {recorded[name]} and is {now.get(name, NOT_INSTALLED)}" for name in differ]


def warn_of_changes(run: RunInfo) -> None:
    """Says where a run is about to be continued under other versions than it began under."""
    found = changes(run.environment, environment())
    if found:
        logging.getLogger("evonas").warning(
            "run %d goes on under other conditions than it began with, and may end with other candidates: %s",
            run.id,
            "; ".join(found),
        )
