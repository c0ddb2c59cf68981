"""The command line: `evonas`."""

from __future__ import annotations

import io
import os
import signal
import sys

import typer
from rich.console import Console

from evonas.cli import (
    baseline,
    compare,
    doctor,
    export,
    inspect_runs,
    report,
    rerank,
    search,
    transfer,
    watch,
    zoo,
)
from evonas.errors import EvonasError

app = typer.Typer(
    name="evonas",
    help="Evolve the normalisation-activation layer that suits your network, batch size and hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (search, inspect_runs, watch, compare, report, rerank, zoo, baseline, doctor, transfer, export):
    app.add_typer(module.app)


def main() -> None:
    """Runs the command line. An error raised on purpose is printed as one line to stderr, with exit code 2."""
    # A job manager sends SIGTERM first, which ends a run as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show × shows ?
    try:
        app()
    except EvonasError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print("[bold red]evonas:[/] ", end="")
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the pipe, such as `head`, has gone. Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
