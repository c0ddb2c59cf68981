"""The command `watch`: the live display of a run that another process executes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic, sleep
from typing import Annotated

import typer
from rich.live import Live

from evonas.cli import options
from evonas.display.live_display import BEST_SHOWN, overview, progress_bar
from evonas.display.pace import Pace
from evonas.display.tables import layers_table
from evonas.display.throughput import Throughput
from evonas.errors import UsageError, shorten
from evonas.records import results
from evonas.records.results import ResultRow
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.report.number_format import duration
from evonas.setup.assemble import open_storage

app = typer.Typer()
_SILENT = 120.0  # seconds without a record after which a run may have been killed
_REST = 9.0
"""Wait this many times as long as a read took before the next one: summing up 100,000 candidates takes a while."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a run at one moment.

    Attributes:
        run, summary: the run and its totals.
        best: the best layers, best first.
    """

    run: RunInfo
    summary: RunSummary
    best: list[ResultRow]

    @property
    def silent(self) -> float:
        """The seconds since anything was recorded for the run."""
        return (datetime.now(UTC) - self.summary.last_activity).total_seconds()


@app.command(epilog=options.example("evonas watch last"))
def watch(
    run: options.RunId = options.LAST,
    every: Annotated[float, typer.Option(help="Seconds between two updates.")] = 2.0,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Show the live table of a run that another process executes. It only reads, and ends when the run does."""
    if not 0.1 <= every <= 3600:
        raise UsageError(f"every must be between 0.1 and 3600 seconds, not {shorten(every)}")
    since = monotonic()
    seen = read_snapshot(storage, run)
    took = monotonic() - since
    number = str(seen.run.id)  # 'last' keeps its meaning when another run starts
    throughput = Throughput(seen.run.config, seen.summary.evaluations, seen.summary.core_seconds)
    bar, console = progress_bar(seen.run, seen.summary.evaluations), options.console
    pace = Pace()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while seen.run.status is RunStatus.RUNNING:
            if console.is_terminal:
                bar.update(bar.tasks[0].id, completed=seen.summary.evaluations, speed=str(throughput))
                live.update(overview(seen.run, seen.summary, seen.best, bar, _footer(seen)), refresh=True)
            elif pace.due(seen.summary.evaluations):
                console.print(_line(seen, throughput), markup=False, highlight=False, soft_wrap=True)
            sleep(max(every, _REST * took))
            since = monotonic()
            seen = read_snapshot(storage, number)
            took = monotonic() - since
            throughput.update(seen.summary.evaluations, seen.summary.core_seconds)
    title = (
        f"run {number}, {seen.run.status.value}: {seen.summary.evaluations:,} judged in {duration(seen.run.elapsed)}"
    )
    console.print(layers_table(seen.best, seen.run.references, seen.run.config.protocol.anchors, title))


def read_snapshot(storage: str, run: str) -> Snapshot:
    """Reads a run in a few short transactions, and closes the database.

    A connection left open would keep the writer, when it closes, from merging SQLite's write-ahead log into the file.
    """
    with open_storage(storage, read_only=True) as store:
        found = options.find_run(store, run)
        return Snapshot(found, store.summary(found.id), results.best(store, found.id, BEST_SHOWN))


def _footer(seen: Snapshot) -> str:
    if seen.silent > _SILENT:
        return (
            f"nothing has been recorded for {duration(seen.silent)}; if the search was killed, "
            f"`evonas resume {seen.run.id}` continues it; Ctrl-C ends watching"
        )
    return "Ctrl-C ends watching; the search continues"


def _line(seen: Snapshot, throughput: Throughput) -> str:
    best = f", best mean {seen.best[0].mean:.3f}" if seen.best else ""
    return f"{seen.summary.evaluations:,} of {seen.run.config.budget:,} judged{best}, {throughput}"
