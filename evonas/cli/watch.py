"""The command `watch`: the live display of a run that goes on in another process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Annotated

import typer
from rich.live import Live

from evonas.cli import options
from evonas.cli.live import SHOWN, bar_of, core_seconds, overview
from evonas.cli.pace import Pace
from evonas.cli.tables import duration, layers_table
from evonas.errors import UsageError, shorten
from evonas.front.assemble import open_storage
from evonas.records import results
from evonas.records.results import ResultRow
from evonas.records.run_info import RunInfo, RunStatus, RunSummary

app = typer.Typer()
_SILENT = 120.0  # seconds without a record after which a run may have been killed
_REST = 9.0
"""How many times as long as a look took it waits for the next: totals of 100,000 candidates take a while to add up."""
_LINE_EVERY = 15.0  # seconds between lines where there is no terminal


@dataclass(frozen=True, slots=True)
class Seen:
    """A run as it stood at one look."""

    run: RunInfo
    summary: RunSummary
    best: list[ResultRow]

    @property
    def silent(self) -> float:
        """Seconds since the run was last written to."""
        return (datetime.now(UTC) - self.summary.last_activity).total_seconds()


@app.command()
def watch(
    run: options.RunId = options.LAST,
    every: Annotated[float, typer.Option(help="Seconds between two looks.")] = 2.0,
    storage: options.Storage = options.STORAGE,
) -> None:
    """The live table of a run that goes on elsewhere. It only reads, and ends when the run does."""
    if not 0.1 <= every <= 3600:
        raise UsageError(f"every should be between 0.1 and 3600 seconds, not {shorten(every)}")
    since = monotonic()
    seen = look(storage, run)
    took = monotonic() - since
    number = str(seen.run.id)  # 'last' stays the run that it was
    pace = Pace(seen.run.config, seen.summary.evaluations, core_seconds(seen.summary))
    bar, console = bar_of(seen.run, seen.summary.evaluations), options.console
    told_at = -_LINE_EVERY
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while seen.run.status is RunStatus.RUNNING:
            if console.is_terminal:
                bar.update(bar.tasks[0].id, completed=seen.summary.evaluations, pace=str(pace))
                live.update(overview(seen.run, seen.summary, seen.best, bar, _footer(seen)), refresh=True)
            elif monotonic() - told_at >= _LINE_EVERY:
                told_at = monotonic()
                console.print(_line(seen, pace), markup=False, highlight=False, soft_wrap=True)
            sleep(max(every, _REST * took))
            since = monotonic()
            seen = look(storage, number)
            took = monotonic() - since
            pace.saw(seen.summary.evaluations, core_seconds(seen.summary))
    title = (
        f"run {number}, {seen.run.status.value}: {seen.summary.evaluations:,} judged in {duration(seen.run.elapsed)}"
    )
    console.print(layers_table(seen.best, seen.run.references, seen.run.config.protocol.anchors, title))


def look(storage: str, run: str) -> Seen:
    """Reads a run in a few short transactions, and lets go of the database.

    A connection that stayed open would keep the writer, as it closes, from folding SQLite's log into the file.
    """
    with open_storage(storage, read_only=True) as store:
        found = options.the_run(store, run)
        return Seen(found, store.summary(found.id), results.best(store, found.id, SHOWN))


def _footer(seen: Seen) -> str:
    if seen.silent > _SILENT:
        return (
            f"nothing was recorded for {duration(seen.silent)}; if the search is gone, `evonas resume {seen.run.id}` "
            "continues it; Ctrl-C ends watching"
        )
    return "Ctrl-C ends watching and leaves the search alone"


def _line(seen: Seen, pace: Pace) -> str:
    best = f", best mean {seen.best[0].mean:.3f}" if seen.best else ""
    return f"{seen.summary.evaluations:,} of {seen.run.config.budget:,} candidates judged{best}, {pace}"
