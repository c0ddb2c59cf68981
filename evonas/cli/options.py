"""Options that commands share, and printing results in the two formats."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from evonas.errors import UsageError, shorten
from evonas.language.graph import Graph
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings.presets import PRESETS
from evonas.setup.assemble import DEFAULT_STORAGE, latest_run, open_storage


class Format(Enum):
    """The formats in which results are printed."""

    TABLE = "table"
    JSON = "json"


Storage = Annotated[
    str, typer.Option(help="The database: a path, or a URL such as sqlite:///runs.db.", envvar="EVONAS_STORAGE")
]
OutputFormat = Annotated[Format, typer.Option("-f", "--format", help="How to print the result.")]
RunId = Annotated[str, typer.Argument(metavar="[RUN]", help="The number of the run, or 'last'.")]
CandidateId = Annotated[
    str, typer.Argument(metavar="ID", help="RUN/INDEX, or the INDEX of a candidate in the latest run.")
]
Preset = Annotated[
    str, typer.Option(help=f"The preset: {', '.join(PRESETS)}, or the path of a TOML file (see `evonas config`).")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any setting, such as protocol.lr=0.05; may be repeated."),
]

STORAGE = DEFAULT_STORAGE
LAST = "last"

console = Console()
stderr = Console(stderr=True)


def emit(chosen: Format, document: Any, table: RenderableType) -> None:
    """Prints `table`, or `document` as JSON, in which infinite numbers and NaN become null."""
    if chosen is Format.JSON:
        typer.echo(json.dumps(_plain(document), indent=2))
    else:
        console.print(table)


def specified(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were specified on the command line, which are those that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    """`value` with None in place of numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def find_run(store: Store, text: str) -> RunInfo:
    """The run of a store that a command's argument names: a number or 'last'.

    Raises:
        UsageError: if the text is neither, or the store has no such run.
    """
    if text == LAST:
        return latest_run(store)
    return store.run(_number(text, f"a run is a number or 'last', not {shorten(text)}"))


def find_candidate(store: Store, text: str) -> tuple[RunInfo, int]:
    """The run and index that RUN/INDEX, or INDEX in the latest run, names.

    Raises:
        UsageError: if the text is not an id, or the store has no such run.
    """
    run, slash, index = text.rpartition("/")
    wrong = f"a candidate is RUN/INDEX such as 3/17, or INDEX in the latest run, not {shorten(text)}"
    found = find_run(store, run) if slash else latest_run(store)
    return found, _number(index, wrong)


def find_layer(text: str, storage: str) -> Graph | str:
    """A layer named on the command line: the graph of a candidate named as RUN/INDEX, else the text itself.

    The text may be a published name or an expression, and is not checked here.
    """
    run, slash, index = text.partition("/")
    if slash and run.strip().isdigit() and index.strip().isdigit():
        with open_storage(storage, read_only=True) as store:
            found, number = find_candidate(store, text)
            return store.candidate(found.id, number).graph.canonical
    return text


def _number(text: str, otherwise: str) -> int:
    # Databases count in 64 bits, so no number is longer.
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise UsageError(otherwise)
