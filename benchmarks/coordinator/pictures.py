"""The results of the benchmark as tables, and the utilisation as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich import box
from rich.table import Table

COLOURS = ("#1f6fb4", "#2f9e6e", "#c2562d", "#7b52a8")


def table_of(part: str, found: dict[str, Any]) -> Table:
    """Format one part of the results for a terminal."""
    return {"driving": _driving, "filtered": _costs, "remembering": _remembering, "utilisation": _utilisation}[part](
        found
    )


def _costs(found: dict[str, Any]) -> Table:
    grid = Table("quantity", "value", title=f"{found['candidates']:,} candidates without training", box=box.SIMPLE_HEAD)
    for name, key in (("whole loop", "cpu_ms"), ("without drawing", "cpu_ms_without_drawing")):
        costs = found[key]
        parts = ", ".join(f"{when} thousand {costs[when]:.3f}" for when in ("first", "last"))
        grid.add_row(f"{name}, CPU ms per candidate", f"median {costs['median']:.3f}; {parts}")
    grid.add_row("recording, CPU ms per candidate", f"{found['recording_cpu_ms']:.3f}")
    grid.add_row("judged per CPU second", f"{found['judged_a_cpu_second']:,.0f}")
    grid.add_row("last tenth over first tenth", f"{found['last_tenth_over_first_tenth']:.2f}")
    grid.add_row("last tenth over the tenth after the window has filled", f"{found['last_tenth_over_second']:.2f}")
    grid.add_row("resident MiB", f"{found['resident_mib']['first']:.0f} to {found['resident_mib']['last']:.0f}")
    grid.add_row("bytes per candidate, second half", f"{found['bytes_a_candidate']:,.0f}")
    return grid


def _driving(found: dict[str, Any]) -> Table:
    grid = _costs(found)
    grid.add_row("database MiB", f"{found['database_mib']:.0f}")
    grid.add_row("resume, CPU and wall s", f"{found['resume']['cpu']:.2f}, {found['resume']['wall']:.2f}")
    for name, seconds in found["calls_cpu"].items():
        grid.add_row(f"queries of {name}, CPU s", f"{seconds:.2f}")
    for name, spent in found["commands"].items():
        grid.add_row(f"evonas {name}, CPU and wall s", f"{spent['cpu']:.2f}, {spent['wall']:.2f}")
    return grid


def _remembering(found: dict[str, Any]) -> Table:
    grid = Table("candidates known", "µs per comparison", "bytes each", title="twins", box=box.SIMPLE_HEAD)
    for row in found["by_known"]:
        cells = f"{row['known']:,}", f"{row['microseconds_a_comparison']:.0f}", f"{row['bytes_a_candidate']:.0f}"
        grid.add_row(*cells)
    return grid


def _utilisation(found: dict[str, Any]) -> Table:
    curves = found["by_lookahead_over_workers"]
    factors = list(next(iter(curves.values())))
    title = f"share of {found['workers']:,} workers' time in use, by lookahead over workers"
    grid = Table("training times", *factors, title=title, box=box.SIMPLE_HEAD)
    for name, curve in curves.items():
        grid.add_row(name, *(f"{curve[factor]:.0%}" for factor in factors))
    return grid


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the utilisation over the lookahead as an SVG, with one line per distribution."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    for colour, (name, curve) in zip(COLOURS, found["by_lookahead_over_workers"].items(), strict=True):
        axes.plot([float(factor) for factor in curve], list(curve.values()), "o-", color=colour, label=name)
    axes.set_xscale("log", base=2)
    ticks = [float(factor) for factor in next(iter(found["by_lookahead_over_workers"].values()))]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="lookahead, in multiples of the number of workers", ylabel="share of workers' time in use")
    axes.set_ylim(0, 1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    axes.set_title(f"{found['workers']:,} workers whose trainings differ in length", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
