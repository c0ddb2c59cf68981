"""Tables of layers, filters, times and runs for the commands and the live display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean

from rich import box
from rich.table import Table

from evonas.display.layer_list import LayerList, Line
from evonas.records.results import ResultRow, references_as_rows
from evonas.records.run_info import RunInfo, RunSummary
from evonas.records.time_breakdown import Breakdown
from evonas.report.funnel import funnel
from evonas.report.number_format import duration
from evonas.reruns.ranking import Sample
from evonas.reruns.significance import Interval
from evonas.settings.candidate import Status

_MAX_LENGTH = 90  # characters of an expression in a table; `evonas show` prints the whole expression
LINE = 240  # where it has lines of its own


def table(title: str | None = None, caption: str | None = None) -> Table:
    """An empty table in the style that all commands share."""
    return Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")


def layers_table(
    rows: Sequence[ResultRow],
    references: Mapping[str, Mapping[str, float]],
    anchors: Sequence[str],
    title: str | None = None,
    families: bool = False,
) -> LayerList:
    """Layers in their order, followed by published layers under the same protocol; with `families`, what each does."""
    measures = rows[0].objectives if rows else ()
    rungs = sorted({steps for row in rows for steps in row.longer})
    headings = ["mean", *(f"{steps}-steps" for steps in rungs), *anchors, *(objective.name for objective in measures)]
    lines = []
    for row in rows:
        further = (objective.written(row.measures[objective.name]) for objective in measures)
        known = [f"{row.longer[steps]:.3f}" if steps in row.longer else "" for steps in rungs]
        name = f"{row.name}: " if row.name else ""
        below = [name + cut(row.expression, LINE), *([str(row.family)] if families else [])]
        lines.append(Line(row.id, [f"{row.mean:.3f}", *known, *_scores(row.scores, anchors), *further], below))
    others = []
    for name, scores in references_as_rows(references) if rows else ():
        cells = [
            f"{fmean(scores.values()):.3f}",
            *("" for _ in rungs),
            *_scores(scores, anchors),
            *("" for _ in measures),
        ]
        others.append(Line(name, cells))
    return LayerList([narrow(heading) for heading in headings], lines, others, title, _unlike_the_first(rows) or None)


def _unlike_the_first(rows: Sequence[ResultRow]) -> str:
    """In what the longer trainings differ from the first, but for their steps: other anchors or learning rates."""
    on = {
        steps: f"{', '.join(anchors)} alone" if set(anchors) <= set(row.scores) else f"in {', '.join(anchors)}"
        for row in rows
        for steps, anchors in row.longer_on.items()
    }
    at = {steps: f"learning rate {lr:g}" for row in rows for steps, lr in row.longer_at.items()}
    told = {steps: [part[steps] for part in (on, at) if steps in part] for steps in sorted(on.keys() | at.keys())}
    return "; ".join(f"{steps} steps: {', '.join(words)}" for steps, words in told.items())


def filters_table(summary: RunSummary, title: str | None = None) -> LayerList:
    """What each filter judged and rejected, the core-seconds that it took, and below it why it mostly rejected."""
    lines = []
    for f in funnel(summary):
        share = f"{f.share:.0%}" if f.judged else ""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in list(f.reasons.items())[:2])
        cells = [f"{f.judged:,}", f"{f.rejected:,}", share, f"{f.seconds:.1f}"]
        lines.append(Line(f.name, cells, below=[reasons] if reasons else []))
    return LayerList(("judged", "rejected", "share", "seconds"), lines, title=title, what="filter")


def times_tables(times: Breakdown) -> list[Table]:
    """Where a run's time went: the wall time of the coordinator and of the workers, and core-seconds."""
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


def runs_table(
    runs: Sequence[RunInfo], states: Sequence[str], summaries: Sequence[RunSummary], verdicts: Sequence[str]
) -> LayerList:
    """Two lines per run, the second on its search; `verdicts` has a word on each, empty if it was not verified."""
    lines = []
    for run, state, summary, verdict in zip(runs, states, summaries, verdicts, strict=True):
        config = run.config
        cells = [
            state,
            f"{summary.evaluations:,}/{config.budget:,}",
            f"{summary.statuses[Status.SCORED]:,}",
            verdict,
            duration(run.elapsed),
            f"{run.created.astimezone():%m-%d %H:%M %Z}",
        ]
        lines.append(Line(str(run.id), cells, [f"{config.space.name} {config.strategy} seed {config.seed}"]))
    return LayerList(("status", "judged", "scored", "verdict", "time", "started"), lines, what="run")


def _scores(scores: Mapping[str, float], anchors: Sequence[str]) -> list[str]:
    return [f"{scores[a]:.3f}" if a in scores else "" for a in anchors]


def sample_mean(found: Sample | None) -> str:
    """The mean of a layer's trainings at one stage, with half the width of its interval."""
    if found is None:
        return ""
    return "failed" if isnan(found.mean) else f"{found.mean:.3f}{half_width(found.interval)}"


def half_width(found: Interval | None) -> str:
    """Half the width of an interval, after a sign; empty without an interval."""
    return "" if found is None else f" ±{(found.high - found.low) / 2:.3f}"


def narrow(heading: str) -> str:
    """A heading broken into two or three lines, so that tables fit into 80 columns."""
    return heading.replace("-", "-\n", 1).replace("@", "\n@")


def cut(text: str, limit: int = _MAX_LENGTH) -> str:
    """An expression, truncated if it is too long for a table."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
