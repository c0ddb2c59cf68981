"""Options that commands share, and printing results in the two formats."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType

from evonas.errors import UsageError, shorten
from evonas.language.graph import Graph
from evonas.records.evidence import best_known
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.reruns.verdict import verdict_of
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
    str,
    typer.Argument(
        metavar="LAYER",
        help="RUN/INDEX, the INDEX of a candidate in the latest run, 'best', a published layer or an expression.",
    ),
]
Preset = Annotated[
    str, typer.Option(help=f"The preset: {', '.join(PRESETS)}, or the path of a TOML file (see `evonas config`).")
]
OtherData = Annotated[
    bool, typer.Option("--other-data", help="Go on although the images are others than the run began with.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change any setting, such as protocol.lr=0.05; may be repeated."),
]

STORAGE = DEFAULT_STORAGE
LAST = "last"
BEST = "best"
_CANDIDATE = re.compile(rf"(?:(?:-?\d+|{LAST})/)?(?:-?\d+|{BEST})")

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
    """The run and index that RUN/INDEX, or INDEX in the latest run, names; `best` in place of INDEX is its best layer.

    Raises:
        UsageError: if the text is not an id, the store has no such run, or the run has no best layer.
    """
    run, slash, index = text.rpartition("/")
    found = find_run(store, run) if slash else latest_run(store)
    if index.strip() == BEST:
        return found, _best(store, found)
    wrong = f"a candidate is RUN/INDEX such as 3/17, INDEX in the latest run, or {BEST}, not {shorten(text)}"
    return found, _number(index, wrong)


def _best(store: Store, run: RunInfo) -> int:
    """The index of a run's verified layer, or of its best one where none is verified."""
    verdict = verdict_of(store, run.id)
    if verdict is not None and verdict.layer is not None:
        return verdict.layer.index
    known = best_known(store, run, 1)
    if not known:
        raise UsageError(f"run {run.id} has no best layer: nothing was scored")
    return known[0][0].index


def names_candidate(text: str) -> bool:
    """Whether a text on the command line is meant as the id of a candidate, not as a name or a formula.

    Whole numbers alone are, although "1/0/0" is a quotient too: no layer is a number.
    """
    return _CANDIDATE.fullmatch(text.strip()) is not None or re.fullmatch(r"[\d/]+", text.strip()) is not None


def find_layer(text: str, storage: str) -> Graph | str:
    """A layer named on the command line: the graph of a candidate named by its id, else the text itself.

    The text may be a published name or an expression, and is not checked here.
    """
    if names_candidate(text):
        with open_storage(storage, read_only=True) as store:
            found, number = find_candidate(store, text)
            return store.candidate(found.id, number).graph.canonical
    return text


def _number(text: str, otherwise: str) -> int:
    # Databases count in 64 bits, so no number is longer.
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise UsageError(otherwise)


def example(command: str) -> str:
    """The end of a command's help: a command line to start from."""
    return f"Example: {command}"
