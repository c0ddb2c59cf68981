"""The command `zoo`: lists the layers that have names, or draws them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from evonas.cli import options
from evonas.display.layer_list import LayerList, Line
from evonas.errors import UsageError, shorten, unknown
from evonas.language.zoo import ROWS, Published, zoo
from evonas.layers.modules.module_names import MODULES
from evonas.report.graph_drawing import gallery, picture, tree

app = typer.Typer()


@app.command(name="zoo", epilog=options.example("evonas zoo evonorm-s0 -o layer.svg"))
def list_zoo(
    names: Annotated[list[str] | None, typer.Argument(help="Layers to draw; without a name, all are listed.")] = None,
    output: Annotated[Path | None, typer.Option("-o", help="Draw the layers into this SVG or PNG file.")] = None,
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    form: options.OutputFormat = options.Format.TABLE,
) -> None:
    """List published layers and those that evonas found, or draw some of them."""
    for name in names or ():
        if name not in zoo:
            raise unknown("layer", name, zoo)
    rows = [ROWS[name] for name in names or ROWS]
    if output is not None:
        _draw(rows, output, force)
        return
    if names:
        drawn = [part for row in rows for part in (Text(f"{row.name}: {row.source}", "bold"), tree(zoo[row.name]))]
        options.emit(form, _document(rows), Group(*drawn))
    else:
        options.emit(form, _document(rows), _table(rows))


def _draw(rows: Sequence[Published], output: Path, force: bool) -> None:
    try:
        if output.exists() and not force:
            raise UsageError(f"{output} exists; use --force to overwrite it")
        if len(rows) == 1:
            picture(zoo[rows[0].name], output, rows[0].name)
        else:
            gallery({row.name: zoo[row.name] for row in rows}, output)
    except OSError as error:
        raise UsageError(f"{shorten(str(output))} cannot be written: {error.strerror}") from None


def _document(rows: Sequence[Published]) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "expression": row.expression,
            "latex": zoo[row.name].latex(),
            "source": row.source,
            "graph": json.loads(zoo[row.name].to_json()),
        }
        for row in rows
    ]


def _table(rows: Sequence[Published]) -> LayerList:
    caption = (
        "`evonas zoo NAME` draws a layer; each is followed by a trainable affine. `evonas baseline --layer` trains "
        f"some that are no graphs, too: {', '.join(MODULES)}"
    )
    return LayerList(
        (), [Line(row.name, (), [row.expression, row.source]) for row in rows], caption=caption, what="name"
    )
