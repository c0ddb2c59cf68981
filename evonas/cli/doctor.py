"""The command `doctor`."""

from __future__ import annotations

import typer

from evonas.cli import options
from evonas.display.tables import table

app = typer.Typer()


@app.command(epilog=options.example("evonas doctor"))
def doctor(form: options.OutputFormat = options.Format.TABLE) -> None:
    """Check this machine: versions, hardware, compiler, data and database, and a tiny training on Ray."""
    from evonas.setup.doctor import examine

    checks = examine()
    grid = table()
    for heading in ("", "check", "found"):
        grid.add_column(heading, overflow="fold")
    for check in checks:
        grid.add_row("[green]ok[/]" if check.ok else "[red]no[/]", check.name, check.found)
    options.emit(form, [{"check": c.name, "ok": c.ok, "found": c.found} for c in checks], grid)
    if not all(check.ok for check in checks):
        raise typer.Exit(1)
