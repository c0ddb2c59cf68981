"""The command line: `evonas`."""

from __future__ import annotations

import io
import os
import signal
import sys

import typer
from rich.console import Console

from evonas.cli import compare, export, layers, report, rerank, transfer, watch
from evonas.cli import inspect_runs as look
from evonas.cli import search as run
from evonas.errors import EvonasError

app = typer.Typer(
    name="evonas",
    help="Evolve the normalisation-activation layer that suits your network, batch size and hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (run, look, watch, compare, report, rerank, layers, transfer, export):
    app.add_typer(commands.app)


def main() -> None:
    """Runs the command line; an error made on purpose is one line on stderr and exit code 2."""
    # A job manager's polite kill ends a run as Ctrl-C does.
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
        # The reader of a pipe, `head` say, has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
