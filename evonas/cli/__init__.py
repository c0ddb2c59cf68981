"""The command line: `evonas`."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console

from evonas import __version__
from evonas.cli import (
    backup,
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

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full device, a quota or a limit of the size of files answers."""
_PACKAGES = {
    **{name: name for name in ("alembic", "latex2mathml", "matplotlib", "networkx", "pymoo", "ray", "sqlalchemy")},
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tomli_w": "tomli-w",
}
"""The packages that some commands need and others do not, as they are imported, with their names for pip. A machine
with a GPU may lack them, and still shows, exports and measures layers."""


def _show_version(wanted: bool) -> None:
    """Print the version and, of a checkout, its commit."""
    if wanted:
        from evonas.records.environment import state_of_code

        print(f"evonas {__version__} ({state_of_code()})")
        raise typer.Exit


app = typer.Typer(
    name="evonas",
    help="Evolve the normalisation-activation layer that suits your network, batch size and hardware.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


for module in (search, inspect_runs, watch, compare, report, rerank, zoo, baseline, doctor, transfer, export, backup):
    app.add_typer(module.app)


def main() -> None:
    """Runs the command line. An error raised on purpose is printed as one line to stderr, with exit code 2."""
    # A job manager sends SIGTERM first, and a terminal that closes SIGHUP: both end a run as Ctrl-C does.
    for one in (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,):
        if signal.getsignal(one) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(one, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show × shows ?
    try:
        app()
    except EvonasError as error:
        _say(str(error))
        sys.exit(2)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        _say(f"this command needs the package {package}, which is not installed: pip install {_PACKAGES[package]}")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe, such as `head`, has gone
        _drop_output()
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _say(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
        _drop_output()
        sys.exit(2)


def _say(what: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print("[bold red]evonas:[/] ", end="")
    print(what, file=sys.stderr)


def _drop_output() -> None:
    """Sends what is still to be printed nowhere: Python would complain again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
