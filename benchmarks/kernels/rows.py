"""The measured rows, each a line of JSON that is written at once."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import triton

ROOT = Path(__file__).parents[2]
_SOURCES = ("evonas", "kernels", "search_spaces", "workers", "benchmarks/kernels")
"""The folders whose Python files determine what is measured."""


def source_digest() -> str:
    """A digest of the text of all code that a measurement runs."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in _SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n{path.read_text()}\n".encode())
    return digest.hexdigest()


def identity(machine: str, repeats: int, commit: str | None = None) -> dict[str, str | int | None]:
    """The identity of a measurement: its code and its machine. Rows of two identities are never compared.

    Args:
        machine: the name of the GPU.
        repeats: the number of calls of each timing.
        commit: the commit of the code; by default, the one that git reports, if any.
    """
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "machine": machine,
        "torch": torch.__version__,
        "triton": triton.__version__,
        "sources": source_digest(),
        "repeats": repeats,
        "commit": commit or (found.stdout.strip() if not found.returncode else None),
    }


class Rows:
    """A file of rows of one identity; another identity has a file of its own.

    A row is an object with a `key`, which says what was measured, and either figures or `failed` with a sentence. Rows
    are appended and flushed, so that a kill loses only the row that is being measured; an incomplete line at the end of
    a file is skipped.

    Args:
        folder: the folder of the files, which is created if it does not exist.
        who: the identity.

    Attributes:
        path: the file.
    """

    def __init__(self, folder: Path, who: Mapping[str, str | int | None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = json.dumps({key: value for key, value in who.items() if key != "commit"}, sort_keys=True)
        name = hashlib.blake2b(kept.encode(), digest_size=4).hexdigest()
        self.path = folder / f"rows-{name}.jsonl"
        if not self.path.exists():
            self.add({"key": "identity", **who})

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a row, which is on the disk before this returns."""
        text = json.dumps(row)
        with self.path.open("a+b") as file:
            if file.seek(0, 2) and not self._ends_with_a_line():
                file.write(b"\n")
            file.write(text.encode() + b"\n")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return read(self.path)

    def _ends_with_a_line(self) -> bool:
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file, without incomplete lines."""
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield row
