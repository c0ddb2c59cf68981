"""Graphs per second through the cheap filters, by stage."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.filters.proposals import measured, measured_elsewhere
from evonas.judging.cheap_filters import CANONICAL, CHEAP_FILTERS, DUPLICATE, SAMPLING, SELECTION, STRUCTURAL, TWIN
from evonas.records.environment import environment
from evonas.settings.run_config import RunConfig


class Row(NamedTuple):
    """A measurement: the search space, the strategy, and the tolerance for twins, 0 for no comparison."""

    space: str
    strategy: str
    twins: float

    def __str__(self) -> str:
        return f"{self.space}, {self.strategy}" + (f", twins {self.twins:g}" if self.twins else "")


ROWS = (
    Row("evonorm", "random", 0.0),
    Row("evonorm-s", "random", 0.0),
    Row("evonorm", "random", RunConfig.twins),
    Row("evonorm-s", "random", RunConfig.twins),
    Row("evonorm", "pareto", RunConfig.twins),
    Row("evonorm-s", "pareto", RunConfig.twins),
)
"""Random graphs; then with the default's comparison of twins; then as evolution draws them, half of them mutants."""


def run(count: int, rounds: int, seed: int, output: Path, against: Path | None) -> None:
    """Measure and print every row, and write all of them to `output`."""
    console, rows = Console(), []
    for row in ROWS:
        ours, theirs = [], []
        for number in range(rounds):
            ours.append(measured(*row, count, seed + number))
            if against is not None:
                theirs.append(measured_elsewhere(against, *row, count, seed + number))
        found = summary(ours) | ({"before": compared(ours, theirs)} if theirs else {})
        rows.append({**row._asdict(), **found})
        console.print(table(row, found))
        settings = {"count": count, "rounds": rounds, "seed": seed, "before": against and commit_of(against)}
        document = {"environment": environment(), **settings, "rows": rows}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1) + "\n")


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Summarise rounds: the median of the graphs per second, and stages summed over rounds."""
    proposals, candidates = (sum(r[name] for r in rounds) for name in ("proposals", "candidates"))
    stages: dict[str, dict[str, float | int]] = {}
    left = proposals
    for stage in (SELECTION, SAMPLING, STRUCTURAL, CANONICAL, *CHEAP_FILTERS[CHEAP_FILTERS.index(DUPLICATE) :]):
        rejected = sum(r["discarded"].get(stage, 0) for r in rounds)
        spent = sum(r["seconds"].get(stage, 0.0) for r in rounds)
        # Choosing parents, sampling and rewriting graphs are not filters.
        counts = {"judged": left, "rejected": rejected} if stage in CHEAP_FILTERS else {"graphs": left}
        stages[stage] = {**counts, "core_seconds": spent}
        left -= rejected
    return {
        "graphs_a_second": median(map(proposals_per_second, rounds)),
        "proposals": proposals,
        "candidates": candidates,
        "core_seconds": sum(r["core_seconds"] for r in rounds),
        "stages": stages,
    }


def commit_of(checkout: Path) -> str:
    """Return the commit of a checkout, or say that it is not a git checkout."""
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "not a git checkout"


def proposals_per_second(measurement: Mapping[str, Any]) -> float:
    """Return the proposals per core-second of a measurement."""
    return float(measurement["proposals"] / measurement["core_seconds"])


def compared(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compare with another checkout: its speed, the median ratio over seeds, and whether the candidates agree."""
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "graphs_a_second": median(map(proposals_per_second, theirs)),
        "times_as_fast": median(proposals_per_second(one) / proposals_per_second(other) for one, other in pairs),
        "same_candidates": all(one["keys"] == other["keys"] for one, other in pairs),
    }


def table(row: Row, found: Mapping[str, Any]) -> Table:
    """Format one row as a table."""
    title = f"{row}: {found['graphs_a_second']:,.0f} graphs per second"
    if before := found.get("before"):
        same = "the same candidates" if before["same_candidates"] else "different candidates"
        title += (
            f", {before['times_as_fast']:.2f} times the {before['graphs_a_second']:,.0f} of the other checkout, {same}"
        )
    grid = Table(title=title, title_justify="left")
    for heading in ("stage", "judged", "rejected", "share", "core-seconds", "µs per proposal"):
        grid.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in found["stages"].items():
        if (name == TWIN and not row.twins) or (name == SELECTION and row.strategy == "random"):
            continue
        numbers = ("", "", "")
        if stage.get("judged"):
            share = stage["rejected"] / stage["judged"]
            numbers = (f"{stage['judged']:,}", f"{stage['rejected']:,}", f"{100 * share:.1f}%")
        spent = stage["core_seconds"]
        grid.add_row(name, *numbers, f"{spent:.3f}", f"{1e6 * spent / found['proposals']:.2f}")
    rest = found["core_seconds"] - sum(stage["core_seconds"] for stage in found["stages"].values())
    grid.add_row("bookkeeping", "", "", "", f"{rest:.3f}", f"{1e6 * rest / found['proposals']:.2f}")
    return grid
