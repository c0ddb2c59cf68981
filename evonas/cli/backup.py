"""The command `backup`, which copies a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evonas.cli import options
from evonas.errors import UsageError
from evonas.setup.assemble import backup_storage

app = typer.Typer()


@app.command(epilog=options.example("evonas backup backup.db"))
def backup(
    output: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    force: Annotated[bool, typer.Option(help="Overwrite the file.")] = False,
    storage: options.Storage = options.STORAGE,
) -> None:
    """Copy a database to one file, also while a search writes to it; a copy of the file alone may lack the latest."""
    if output.exists() and not force:
        raise UsageError(f"{output} exists; use --force to overwrite it")
    backup_storage(storage, output)
    typer.echo(f"wrote {output}")
