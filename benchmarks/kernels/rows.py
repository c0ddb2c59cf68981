"""What was measured, a line of JSON each, written as soon as it is known."""

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
"""Folders whose Python files decide what is measured."""


def source_digest() -> str:
    """A digest of the text of everything that a measurement runs."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in _SOURCES:
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(f"{path.relative_to(ROOT)}\n{path.read_text()}\n".encode())
    return digest.hexdigest()


def identity(machine: str, repeats: int, commit: str | None = None) -> dict[str, str | int | None]:
    """Which code measured on which machine: rows of two identities are never compared.

    Args:
        machine: what the GPU is called.
        repeats: calls of a timing.
        commit: of the code; what git says by default, if it does.
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

    A row is an object with a `key`, which says what was measured, and what was found: figures, or `failed` with a
    sentence. Rows are added at the end and flushed, so that a kill loses the one that is being measured, and half a
    line at the end of a file is passed over.

    Args:
        folder: where the files lie; made where it does not exist.
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
        """One more row, on the disk before this returns."""
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
    """The rows of a file, without lines that a kill cut short."""
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        yield row
