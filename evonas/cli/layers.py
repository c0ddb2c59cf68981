"""Commands about layers and the machine: `zoo`, `baseline`, `doctor`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from evonas.cli import options
from evonas.cli.progress import training_bar
from evonas.cli.tables import comparison_table, table
from evonas.cli.worker_options import Where, says_where
from evonas.errors import UsageError, shorten, unknown
from evonas.language.zoo import PUBLISHED, ROWS, as_graph, zoo
from evonas.report.graph_drawing import gallery, picture, tree
from evonas.reruns import comparison
from evonas.settings.evaluation_protocol import EvaluationProtocol

app = typer.Typer()


@app.command(name="zoo")
def list_zoo(
    names: Annotated[list[str] | None, typer.Argument(help="Layers to draw; all are listed without.")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="Draw into an SVG or PNG file.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """List published layers, or draw some of them."""
    for name in names or ():
        if name not in zoo:
            raise unknown("layer", name, zoo)
    rows = [ROWS[name] for name in names] if names else PUBLISHED
    if output is not None:
        try:
            if output.exists() and not force:
                raise UsageError(f"{output} exists; use --force to overwrite it")
            if len(rows) == 1:
                picture(zoo[rows[0].name], output, rows[0].name)
            else:
                gallery({row.name: zoo[row.name] for row in rows}, output)
        except OSError as error:
            raise UsageError(f"{shorten(str(output))} cannot be written: {error.strerror}") from None
        return
    document = [
        {
            "name": row.name,
            "expression": row.expression,
            "latex": zoo[row.name].latex(),
            "source": row.source,
            "graph": json.loads(zoo[row.name].to_json()),
        }
        for row in rows
    ]
    if names:
        drawn = [part for row in rows for part in (Text(f"{row.name}: {row.source}", "bold"), tree(zoo[row.name]))]
        options.emit(form, document, Group(*drawn))
        return
    grid = table(caption="`evonas zoo NAME` draws one; each is followed by a trainable affine")
    grid.add_column("name", no_wrap=True)
    grid.add_column("layer", overflow="fold")
    grid.add_column("source", overflow="fold")
    for row in rows:
        grid.add_row(row.name, row.expression, row.source)
    options.emit(form, document, grid)


@app.command()
@says_where
def baseline(
    layer: Annotated[
        list[str] | None,
        typer.Option(help="A name, an expression, or a candidate's RUN/INDEX; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each layer on each anchor.")] = 3,
    first_seed: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 0,
    test: Annotated[bool, typer.Option("--test", help="Score on the test split, which no search sees.")] = False,
    anchor: Annotated[list[str] | None, typer.Option(help="Anchor network, or FILE.py:NAME; may be repeated.")] = None,
    data: Annotated[
        str, typer.Option(help="Data set: digits, cifar10, cifar100, image-folder, npz or FILE.py:NAME.")
    ] = EvaluationProtocol.data,
    data_dir: Annotated[str | None, typer.Option(help="Its folder or file.")] = None,
    steps: Annotated[int, typer.Option(help="Training steps on each anchor.")] = EvaluationProtocol.steps,
    storage: options.Storage = options.STORAGE,
    *,
    where: Where,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """Train layers on the anchors with several seeds: mean and spread, the whole zoo by default."""
    protocol = replace(
        EvaluationProtocol(),
        data=data,
        data_dir=data_dir,
        anchors=tuple(anchor) if anchor else EvaluationProtocol.anchors,
        steps=steps,
    )
    layers = [options.the_layer(text, storage) for text in layer] if layer else list(zoo)
    for one in layers:
        as_graph(one)  # refuses what is no layer before anything starts
    if seeds < 1:
        raise UsageError(f"seeds should be at least 1, not {seeds}")
    replace(protocol, seed=first_seed)  # likewise
    with training_bar() as bar:
        comparisons = comparison.baseline(
            layers,
            protocol=protocol,
            seeds=range(first_seed, first_seed + seeds),
            split="test" if test else "validation",
            progress=bar,
            **where,
        )
    document = [
        {
            "layer": c.layer,
            "mean": c.mean() if c.scores[protocol.anchors[0]] else None,
            "spread": c.spread() if c.scores[protocol.anchors[0]] else None,
            "scores": {a: list(v) for a, v in c.scores.items()},
            "seconds": dict(c.seconds),
            "failures": list(c.failures),
        }
        for c in comparisons
    ]
    title = f"{'test' if test else 'validation'} accuracy after {steps} steps, {seeds} seed{'' if seeds == 1 else 's'}"
    options.emit(form, document, comparison_table(comparisons, protocol.anchors, title))


@app.command()
def doctor(form: options.OutputFormat = options.Format.TABLE) -> None:
    """Check this machine: versions, hardware, the database, and Ray with a training in miniature."""
    from evonas.front.doctor import examine

    checks = examine()
    grid = table()
    for heading in ("", "check", "found"):
        grid.add_column(heading, overflow="fold")
    for check in checks:
        grid.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, check.found)
    options.emit(form, [{"check": c.name, "ok": c.ok, "found": c.found} for c in checks], grid)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
