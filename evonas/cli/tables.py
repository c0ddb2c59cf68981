"""Tables of layers, filters and runs, as the commands and the live display show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from rich import box
from rich.markup import escape
from rich.table import Table

from evonas.judging.cheap_filters import CHEAP_FILTERS
from evonas.records.results import ResultRow, references_as_rows
from evonas.records.run_info import RunInfo, RunSummary
from evonas.records.time_breakdown import Breakdown
from evonas.reruns.comparison import Comparison
from evonas.settings.candidate import Status

_WIDEST = 90  # longest expression shown in a table; `show` prints the whole


def table(title: str | None = None, caption: str | None = None) -> Table:
    """An empty table in the house's style."""
    return Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")


def layers_table(
    rows: Sequence[ResultRow],
    references: Mapping[str, Mapping[str, float]],
    anchors: Sequence[str],
    title: str | None = None,
) -> Table:
    """Layers found, best first, with published layers under the same protocol below them."""
    grid = table(title)
    grid.add_column("id", no_wrap=True)
    grid.add_column("layer", overflow="fold", min_width=20)
    measures = rows[0].objectives if rows else ()
    for heading in ("mean", *anchors, *(objective.name for objective in measures)):
        grid.add_column(narrow(heading), justify="right", no_wrap=True)
    for row in rows:
        label = f"{row.expression} [dim]({row.name})[/]" if row.name else escape(cut(row.expression))
        further = (objective.written(row.measures[objective.name]) for objective in measures)
        grid.add_row(row.id, label, f"[bold]{row.mean:.3f}[/]", *_scores(row.scores, anchors), *further)
    if rows and references:
        grid.add_section()
    for name, scores in references_as_rows(references):
        cells = _scores(scores, anchors)
        grid.add_row("", f"[cyan]{name}[/]", f"{fmean(scores.values()):.3f}", *cells)
    return grid


def filters_table(summary: RunSummary, title: str | None = None) -> Table:
    """How many each filter judged and rejected, and what that took."""
    grid = table(title)
    grid.add_column("filter")
    for heading in ("judged", "rejected", "share", "seconds"):
        grid.add_column(heading, justify="right")
    grid.add_column("most often")
    judged = summary.candidates + sum(summary.discarded.values())
    for name in CHEAP_FILTERS:
        rejected = summary.discarded.get(name, 0)
        _filter_row(grid, name, judged, rejected, summary.drawing.get(name, 0.0), "")
        judged -= rejected
    for name, f in summary.filters.items():
        reason = ", ".join(f"{reason} {count}" for reason, count in list(f.reasons.items())[:2])
        _filter_row(grid, name, f.judged, f.rejected, f.seconds, reason)
    return grid


def times_tables(times: Breakdown) -> list[Table]:
    """Where a run's time went: the coordinator's wall time, the workers', and their core-seconds."""
    tables = [_shares("core-seconds of coordinator and workers", times.core)]
    if times.coordinator:
        tables.insert(0, _shares("wall time of the coordinator", times.coordinator))
        tables.insert(1, _shares("wall time of workers, in all", times.workers_wall))
    return tables


def _shares(title: str, seconds: Mapping[str, float]) -> Table:
    grid, whole = table(title), sum(seconds.values())
    grid.add_column("what")
    grid.add_column("seconds", justify="right")
    grid.add_column("share", justify="right")
    for name, part in seconds.items():
        grid.add_row(name, f"{part:,.1f}", f"{part / whole:.1%}" if whole else "")
    return grid


def runs_table(runs: Sequence[RunInfo], summaries: Sequence[RunSummary]) -> Table:
    """One line a run."""
    grid = table()
    for heading in ("run", "status", "search", "judged", "scored", "time", "started"):
        grid.add_column(heading, justify="right" if heading in ("judged", "scored", "time") else "left")
    for run, summary in zip(runs, summaries, strict=True):
        config = run.config
        grid.add_row(
            str(run.id),
            run.status.value,
            escape(f"{config.space.name} {config.strategy} seed {config.seed}"),
            f"{summary.evaluations:,}/{config.budget:,}",
            f"{summary.statuses[Status.SCORED]:,}",
            duration(run.elapsed),
            f"{run.created:%m-%d %H:%M}",
        )
    return grid


def comparison_table(comparisons: Sequence[Comparison], anchors: Sequence[str], title: str | None = None) -> Table:
    """Mean and standard deviation over seeds, layer by anchor, best mean first."""
    grid = table(title, caption="accuracy, mean ± standard deviation over seeds; s: core-seconds a training")
    grid.add_column("layer", overflow="fold")
    for heading in ("all", *anchors, "s"):
        grid.add_column(narrow(heading), justify="right", no_wrap=True)
    for c in sorted(comparisons, key=lambda c: -c.mean() if c.scores[anchors[0]] else 1.0):
        if not c.scores[anchors[0]]:
            grid.add_row(escape(cut(c.layer)), f"failed: {escape(c.failures[0])}")
            continue
        several = len(c.scores[anchors[0]]) > 1  # one training has no spread
        cells = [f"{c.mean(a):.3f}" + (f" ±{c.spread(a):.3f}" if several else "") for a in (None, *anchors)]
        grid.add_row(escape(cut(c.layer)), *cells, f"{fmean(c.seconds.values()):.1f}")
    return grid


def duration(seconds: float) -> str:
    """Seconds as "1 h 05 min", "3 min 20 s" or "12 s"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _filter_row(grid: Table, name: str, judged: int, rejected: int, seconds: float, reason: str) -> None:
    share = f"{rejected / judged:.0%}" if judged else ""
    grid.add_row(name, f"{judged:,}", f"{rejected:,}", share, f"{seconds:.1f}", escape(reason))


def _scores(scores: Mapping[str, float], anchors: Sequence[str]) -> list[str]:
    return [f"{scores[a]:.3f}" if a in scores else "" for a in anchors]


def narrow(heading: str) -> str:
    """A heading in two or three lines, so that tables fit into 80 columns."""
    return heading.replace("-", "-\n", 1).replace("@", "\n@")


def cut(text: str) -> str:
    """An expression, shortened where it is too long for a table."""
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"
