"""The command: judges the models that are not in the file of rows yet, and writes the table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.models.judging import Outcome, judge
from benchmarks.models.model_list import rows
from benchmarks.models.page import table
from benchmarks.models.without_operators import define_nms
from evonas.records.environment import environment


def main() -> None:
    """Judge, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--rows", type=Path, default=Path("model_rows.jsonl"), help="continues what is there")
    parser.add_argument("--library", nargs="*", default=None, help="judge the models of these alone")
    parser.add_argument("--model", nargs="*", default=None, help="judge these models alone")
    parser.add_argument("-o", "--output", type=Path, default=None, help="the table as JSON")
    given = parser.parse_args()
    define_nms()
    done = read(given.rows)
    for row in rows():
        asked = (given.library is None or row.library in given.library) and (not given.model or row.name in given.model)
        if not asked or (row.library, row.name) in {(one.library, one.model) for one in done}:
            continue
        found = judge(row)
        done.append(found)
        with given.rows.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        print(said(found), flush=True)
    print("\n".join(table(done)))
    if given.output is not None:
        given.output.write_text(json.dumps(document(done), indent=1) + "\n")


def read(path: Path) -> list[Outcome]:
    """Return the rows of a file; none if there is no file. A line cut off by a kill is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        values |= {key: tuple(values[key]) for key in ("wrong", "missed")}
        found.append(Outcome(**values))
    return found


def said(one: Outcome) -> str:
    """Return one outcome as a line."""
    if one.error:
        return f"{one.library:28} {one.model:28} {one.error}"
    same = {True: "same", False: f"differs by {one.difference}", None: "-"}[one.same]
    trains = "trains" if one.trains else "does not train"
    pairs = f"{one.found:3} of {one.expected:3}  {len(one.wrong)} wrong"
    amiss = [*(f"missed {name}" for name in one.missed), *(f"wrong {name}" for name in one.wrong)]
    return "\n    ".join([f"{one.library:28} {one.model:28} {pairs}  {same}  {trains}", *amiss])


def document(found: Sequence[Outcome]) -> dict[str, Any]:
    """Return the outcomes with the versions of the libraries."""
    libraries = sorted({one.library for one in found})
    versions = {name: metadata.version(name) for name in libraries} | {"torch": torch.__version__}
    return {"environment": environment(), "libraries": versions, "models": [asdict(one) for one in found]}


if __name__ == "__main__":
    main()
