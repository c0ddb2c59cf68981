"""The command `transfer`, which trains a layer on tasks that no search trains on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from evonas.cli import options
from evonas.display.progress import training_bar
from evonas.display.tables import cut, table
from evonas.errors import UsageError
from evonas.reruns.task_transfer import BASELINE, TASK_REFERENCES, TASKS, TaskScores, transfer

app = typer.Typer()


@app.command(name="transfer", epilog=options.example("evonas transfer bn-relu evonorm-s0"))
def transfer_layers(
    layer: Annotated[
        list[str], typer.Argument(help="A published layer, an expression, or the RUN/INDEX of a candidate.")
    ],
    task: Annotated[str, typer.Option(help=f"The task: {', '.join(TASKS)}.")] = next(iter(TASKS)),
    seeds: Annotated[int, typer.Option(help="Number of trainings of each layer.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Training steps; the task's own by default.")] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Published layer to compare with; may be repeated. By default {', '.join(TASK_REFERENCES)}."
        ),
    ] = None,
    storage: options.Storage = options.STORAGE,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Train a U-Net, a GAN or an unseen network on digits, with the layer and with published ones."""
    if seeds < 1 or first_seed < 0:
        raise UsageError("seeds must be at least 1, and first-seed at least 0")
    layers = [options.find_layer(text, storage) for text in layer]
    with training_bar(options.stderr) as bar:
        rows = transfer(
            layers,
            task,
            seeds=range(first_seed, first_seed + seeds),
            steps=steps,
            references=TASK_REFERENCES if reference is None else reference,
            progress=bar.tick,
        )
    options.emit(form, [_document(row) for row in rows], _table(rows, task, seeds))


def _document(row: TaskScores) -> dict[str, object]:
    versus = None if row.versus is None else asdict(row.versus)
    interval = None if row.interval is None else asdict(row.interval)
    values = {"values": dict(row.values), "diverged": list(row.diverged)}
    return {"layer": row.layer, "mean": row.mean, "interval": interval, **values, "versus_bn_relu": versus}


def _table(rows: list[TaskScores], task: str, seeds: int) -> Table:
    known = TASKS[task]
    better = "higher" if known.larger_is_better else "lower"
    caption = (
        f"mean over {seeds} seeds ± half the width of its 95% interval, on test images; {better} is better; p: paired "
        f"t-test against {BASELINE} over the same seeds, not corrected"
    )
    grid = table(f"{task}: {known.measure}", caption)
    grid.add_column("layer", overflow="fold", min_width=16)
    for heading in (known.measure, f"minus {BASELINE}", "p", "diverged"):
        grid.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        mean = "" if row.mean is None else f"{row.mean:.3f}"
        half = "" if row.interval is None else f" ± {(row.interval.high - row.interval.low) / 2:.3f}"
        versus = "" if row.versus is None else f"{row.versus.difference:+.3f}"
        p = "" if row.versus is None or row.versus.p is None else f"{row.versus.p:.3f}"
        grid.add_row(escape(cut(row.layer)), mean + half, versus, p, str(len(row.diverged)) if row.diverged else "")
    return grid
