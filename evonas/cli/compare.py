"""The command `compare`, which shows runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from evonas.cli import options
from evonas.display.tables import table
from evonas.errors import UsageError
from evonas.report.number_format import duration
from evonas.report.run_comparison import ComparedRun, compare_runs
from evonas.setup.assemble import open_storage

app = typer.Typer()


@app.command(epilog=options.example("evonas compare 1 2"))
def compare(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN RUN …", help="The numbers of the runs; 'last' is the latest.")
    ],
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Show runs side by side: settings that differ, what each found, and the hypervolume at equal compute."""
    with open_storage(storage, read_only=True) as store:
        found = list(dict.fromkeys(options.find_run(store, run).id for run in runs))
        if len(found) < 2:
            raise UsageError(f"name at least two different runs to compare; `evonas runs` lists the runs in {storage}")
        rows = compare_runs(store, found)
    options.emit(form, [row.as_dict() for row in rows], _table(rows))


def _table(rows: Sequence[ComparedRun]) -> Table:
    """A table with one column per run."""
    compute, after = duration(rows[0].compute), rows[0].after
    equal = "at equal compute" if after is None else f"after {after:,} candidates"
    when = f": when the run's workers had spent {compute}" if after is None else ", because their settings are the same"
    grid = table(caption=f"{equal}{when}, over the anchors that all runs share")
    grid.add_column("", style="dim")
    for row in rows:
        grid.add_column(f"run {row.run}", justify="right")

    def add(label: str, cell: Callable[[ComparedRun], str]) -> None:
        grid.add_row(label, *(escape(cell(row)) for row in rows))

    def add_scores(label: str, values: Sequence[float | None]) -> None:
        highest = max((value for value in values if value is not None), default=None)
        cells = ["–" if v is None else f"[bold]{v:.3f}[/]" if v == highest else f"{v:.3f}" for v in values]
        grid.add_row(label, *cells)

    add("status", lambda row: row.status.value)
    for name in rows[0].settings:
        grid.add_row(name, *(escape(_setting(row.settings[name])) for row in rows))
    grid.add_section()
    add("judged", lambda row: f"{row.candidates:,}")
    add("scored", lambda row: f"{row.scored:,}")
    add("core time", lambda row: duration(row.core_seconds))
    add("wall time", lambda row: duration(row.elapsed))
    add("judged per core-minute", lambda row: _speed(row.per_core_minute))
    add("judged per second", lambda row: _speed(row.per_second))
    grid.add_section()
    for anchor in dict.fromkeys(anchor for row in rows for anchor in row.best):
        add_scores(f"best {anchor}", [row.best.get(anchor) for row in rows])
    add_scores("best mean", [row.mean for row in rows])
    grid.add_section()
    add_scores(f"{equal}: best mean", [row.mean_then for row in rows])
    add_scores(f"{equal}: hypervolume", [row.hypervolume for row in rows])
    return grid


def _speed(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _setting(value: Any) -> str:
    """The value of a setting, truncated to the width of a column."""
    text = "–" if value is None else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"
