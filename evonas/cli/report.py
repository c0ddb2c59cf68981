"""The commands `report` and `plot`, which show a run to others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evonas.cli import options
from evonas.errors import UsageError, shorten, unknown
from evonas.setup.assemble import open_storage

app = typer.Typer()
LAYER = "layer"
Force = Annotated[bool, typer.Option(help="Overwrite the file.")]


@app.command(epilog=options.example("evonas report last -o report.html"))
def report(
    run: options.RunId = options.LAST,
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML file to write.")] = Path("report.html"),
    top: Annotated[int, typer.Option(help="How many of the best layers to describe in detail.")] = 5,
    force: Force = False,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Write a run as one HTML page that needs no network: progress, front, filters, time, family tree, best layers."""
    from evonas.report.page import page
    from evonas.report.report_data import read_report

    _check_new(output, force)
    if not 1 <= top <= 100:
        raise UsageError(f"top must be between 1 and 100, not {top}")
    with open_storage(storage, read_only=True) as store:
        text = page(read_report(store, options.find_run(store, run).id, top))
    try:
        output.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: the name contains a null character
        raise UsageError(f"cannot write {shorten(str(output), 200)}: {error}") from None
    typer.echo(f"wrote {output}")


@app.command(epilog=options.example("evonas plot last front -o front.svg"))
def plot(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The number of the run, or 'last'.")],
    what: Annotated[
        str,
        typer.Argument(
            metavar="PICTURE", help="progress, front, filters, time, tree, scores, response, or layer for its graph."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The SVG or PNG file to write.")],
    candidate: Annotated[
        int | None, typer.Option(help="Index of the candidate to draw, for layer only; the best by default.")
    ] = None,
    across: Annotated[str | None, typer.Option(help="Objective on the horizontal axis, for front only.")] = None,
    up: Annotated[str | None, typer.Option(help="Objective on the vertical axis, for front only.")] = None,
    top: Annotated[int, typer.Option(help="How many of the best layers to draw, for tree, scores and response.")] = 5,
    force: Force = False,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Draw one picture of a run's report."""
    from evonas.report.graph_drawing import picture
    from evonas.report.pictures import PICTURES, draw
    from evonas.report.report_data import read_report

    if what not in (*PICTURES, LAYER):
        raise unknown("picture", what, (*PICTURES, LAYER))
    if candidate is not None and what != LAYER:
        raise UsageError(f"--candidate is only for the picture {LAYER}; {what} shows the whole run")
    if (across is None) != (up is None):
        raise UsageError("name both axes of the front, --across and --up, or neither")
    if not 1 <= top <= 100:
        raise UsageError(f"top must be between 1 and 100, not {top}")
    _check_new(output, force)
    with open_storage(storage, read_only=True) as store:
        found = options.find_run(store, run)
        if what == LAYER:
            if candidate is None:
                best = store.best(found.id, 1)
                if not best:
                    raise UsageError(f"run {found.id} has no scored layer yet; name another candidate with --candidate")
                candidate = best[0][0].index
            graph = store.candidate(found.id, candidate).graph.canonical
            picture(graph, output, f"{found.id}/{candidate}  {graph.written()}")
        else:
            axes = None if across is None or up is None else (across, up)
            draw(read_report(store, found.id, top), what, output, axes)
    typer.echo(f"wrote {output}")


def _check_new(path: Path, force: bool) -> None:
    try:
        there = path.exists()
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {shorten(str(path), 200)}: {error}") from None
    if there and not force:
        raise UsageError(f"{path} exists; use --force to overwrite it")
