"""The figures of Nsight Compute for a layer's kernels: their share of the hardware's limits, and why warps wait."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks.kernels.rows import ROOT

_KERNELS = "regex:^(sweep_|write|total|forward_on_chip|backward_on_chip)"
_SECTIONS = ("SpeedOfLight", "Occupancy", "LaunchStats", "MemoryWorkloadAnalysis", "SchedulerStats", "WarpStateStats")
_SECONDS = 55.0


def profiled(given: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """The figures of each kernel of a training step by name, or a sentence on why there are none."""
    tool = shutil.which("ncu")
    if tool is None:
        return {"failed": "ncu is not on the path"}
    command = [tool, "--csv", "--page", "details", "--clock-control", "none", "--kernel-name", _KERNELS]
    command += [word for section in _SECTIONS for word in ("--section", section)]
    command += [sys.executable, "-m", "benchmarks.kernels.profiling", json.dumps(dict(given))]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return {"failed": f"ncu took longer than {_SECONDS:.0f} s"}
    lines = done.stdout.splitlines()
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), None)
    if done.returncode or start is None:
        return {"failed": f"ncu ended with {done.returncode}: {(done.stdout + done.stderr)[-500:]}"}
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(lines[start:]):
        if row.get("Metric Name"):
            figure = f"{row['Metric Value']} {row['Metric Unit']}".strip()
            found.setdefault(f"{row['ID']} {row['Kernel Name']}", {})[row["Metric Name"]] = figure
    return {"kernels": found}


def main() -> None:
    """Runs the training step of one layer once, for the profiler."""
    from benchmarks.kernels.variants import launches

    for _ in launches(json.loads(sys.argv[1])):
        pass


if __name__ == "__main__":
    main()
