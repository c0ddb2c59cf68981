"""Shows a search as it goes: a live display on a terminal and in a notebook, short lines elsewhere."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from evonas.display.pace import Pace
from evonas.display.screen import screen_of
from evonas.display.tables import LINE, cut, filters_table, layers_table
from evonas.display.throughput import Throughput
from evonas.records.results import ResultRow, result_row
from evonas.records.running_totals import RunningTotals
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, RenderableType

    from evonas.judging.floors import TurnedAway
    from evonas.records.run_info import RunInfo, RunSummary
    from evonas.records.store import Store

BEST_SHOWN = 8  # number of best layers in the display
_LONGEST_LINE = 80  # characters
_REDRAWN_EVERY = 0.5  # seconds


class LiveDisplay:
    """An observer that shows the progress of a search, its filters, and the best layers beside published ones.

    Args:
        run: the run that is being executed.
        store: the store that holds the run. It is read only once, because summing up a long run takes a while.
        console: the console to print to.
        dashboard: the address of Ray's dashboard, if there is one.
    """

    def __init__(self, run: RunInfo, store: Store, console: Console, dashboard: str | None = None) -> None:
        self.run, self.console, self.dashboard = run, console, dashboard
        self.best: list[ResultRow] = [result_row(run, *pair) for pair in store.best(run.id, BEST_SHOWN)]
        summary = store.summary(run.id)
        self._totals, self._references = RunningTotals(summary), dict(run.references)
        self.judged = summary.evaluations
        self._core_seconds = summary.core_seconds
        self._throughput = Throughput(run.config, self.judged, self._core_seconds)
        self._shown_at = 0.0
        self._pending = self._longer = 0
        self._bar = progress_bar(run, self.judged)
        self._live, self._pace, self._best_said = screen_of(console), Pace(), ""

    def __enter__(self) -> LiveDisplay:
        if self._live is not None:
            self._live.start()
        self.show()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
            return
        self._line(at_once=True)
        rejections = ", ".join(f"{name} {count:,}" for name, count in _rejections(self._totals.summary()) if count)
        if rejections:
            self.console.print(f"rejected: {rejections}", markup=False, highlight=False)

    def drawn(self, candidate: Candidate) -> None:
        """Counts a candidate that was drawn."""
        self._totals.drawn(candidate)

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Counts an evaluation, and adds a scored candidate to the best layers if it is one of them."""
        self._totals.evaluated(evaluation)
        self.judged += 1
        self._core_seconds += evaluation.core_seconds
        self._throughput.update(self.judged, self._core_seconds)
        if evaluation.status is not Status.SCORED:
            return
        found = result_row(self.run, candidate, evaluation)
        self.best = sorted([*self.best, found], key=lambda r: -r.mean)[:BEST_SHOWN]

    def promoted(self, evaluation: Evaluation) -> None:
        """Counts a longer training."""
        self._totals.trained_longer(evaluation.core_seconds)
        self._core_seconds += evaluation.core_seconds
        self._longer += 1

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """Shows the scores of a published layer."""
        if evaluation.scores:
            self._references[layer] = dict(evaluation.scores)
        if self._live is None:
            result = f"{evaluation.mean:.3f}" if evaluation.scores else f"failed: {evaluation.reason}"
            self.console.print(f"  {layer} under this protocol: {result}", markup=False, highlight=False)

    def turned_away(self, layer: TurnedAway) -> None:
        """Says that a filter would reject a published layer; the line stays above a live display."""
        self.console.print(f"  {layer}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def tick(self, pending: int) -> None:
        """Updates the display twice a second, or prints a line if there is news, ever more rarely."""
        self._pending = pending
        if self._live is None or monotonic() - self._shown_at >= _REDRAWN_EVERY:
            self.show()

    def show(self) -> None:
        """Redraws the display, or prints a line if one is due."""
        self._shown_at = monotonic()
        if self._live is not None:
            self._live.update(self._display(), refresh=True)
        else:
            self._line()

    def _line(self, at_once: bool = False) -> None:
        """Prints what was judged so far, and below it the best layer if it is a new one."""
        best = self.best[0] if self.best else None
        if not self._pace.due((self.judged, self._longer, best and best.id), at_once):
            return
        done = [f"{self.judged:,} of {self.run.config.budget:,} judged"]
        done += [f"{self._longer:,} trained longer"] if self._longer else []
        done += [f"best mean {best.mean:.3f}"] if best else []
        speed = self._throughput.words() if self.judged < self.run.config.budget else []
        line = ", ".join([*done, *speed])
        if len(line) > _LONGEST_LINE:
            line = ", ".join([*done, *speed[1:]])
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
        if best and best.id != self._best_said:
            self._best_said = best.id
            self.console.print(f"    {cut(best.expression, LINE)}", markup=False, highlight=False, soft_wrap=True)

    def _display(self) -> RenderableType:
        self._bar.update(self._bar.tasks[0].id, completed=self.judged, speed=str(self._throughput))
        run, summary = replace(self.run, references=self._references), self._totals.summary()
        longer = f"{self._longer} longer trainings; " if self._longer else ""
        footer = f"{longer}{self._pending} in flight; Ctrl-C stops, `evonas resume {self.run.id}` continues"
        return overview(run, summary, self.best, self._bar, footer, self.dashboard)


def _rejections(summary: RunSummary) -> list[tuple[str, int]]:
    """The number of rejections by filter, cheap filters first."""
    return [*summary.discarded.items(), *((name, found.rejected) for name, found in summary.filters.items())]


def progress_bar(run: RunInfo, judged: int) -> Progress:
    """A progress bar of the candidates judged, with one task whose field `speed` is shown beside it."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TextColumn("{task.fields[speed]}")
    )
    bar.add_task("candidates judged", total=run.config.budget, completed=judged, speed="")
    return bar


def overview(
    run: RunInfo,
    summary: RunSummary,
    best: Sequence[ResultRow],
    bar: Progress,
    footer: str,
    dashboard: str | None = None,
) -> RenderableType:
    """What the live display shows of a run.

    Args:
        run: the run.
        summary: its totals.
        best: the best layers so far, best first.
        bar: the progress bar of the candidates judged.
        footer: the text at the bottom.
        dashboard: the address of Ray's dashboard, if there is one.
    """
    config = run.config
    about = f"run {run.id}   space {config.space.name}   strategy {config.strategy}   seed {config.seed}"
    if dashboard:
        about += f"   Ray dashboard http://{dashboard}"
    return Group(
        Text(about, style="dim"),
        bar,
        filters_table(summary),
        Text(),
        layers_table(best, run.references, config.protocol.anchors, "best layers so far"),
        Text(footer, style="dim"),
    )
