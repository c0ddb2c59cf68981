"""The mutants of a file: each is a change of a few bytes that could be a mistake."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.mutants import expressions, statements, texts
from benchmarks.mutants.places import Place, Source
from benchmarks.mutants.sources import room_of


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: path of the file, relative to the root.
        start: position of the first byte that is replaced.
        old: the text that is replaced.
        new: the text that replaces it.
        kind: the kind of change, in a few words.
        line: number of the line in which it begins.
        text: the lines that it changes, stripped.
        after: the same lines with the change.
        place: the statement and function that contain it.
    """

    path: str
    start: int
    old: str
    new: str
    kind: str
    line: int
    text: str
    after: str
    place: Place

    @property
    def room(self) -> str:
        """The room of the file."""
        return room_of(self.path)

    @property
    def key(self) -> str:
        """A short identifier, which depends on the position of the change in the file."""
        return hashlib.sha256(f"{self.path}\0{self.start}\0{self.old}\0{self.new}".encode()).hexdigest()[:16]

    @property
    def change(self) -> str:
        """A description of the change in one line."""
        return f"{_short(self.old)}  ->  {_short(self.new) or 'nothing'}"

    def applied(self, source: bytes) -> bytes:
        """Apply the change to the content of the file."""
        old = self.old.encode()
        assert source[self.start : self.start + len(old)] == old, f"{self.path} has changed"
        return source[: self.start] + self.new.encode() + source[self.start + len(old) :]

    def works(self, source: bytes) -> bool:
        """Return whether the changed file is valid Python and a different program; other languages are not checked."""
        if not self.path.endswith(".py"):
            return True
        try:
            return ast.dump(ast.parse(self.applied(source))) != ast.dump(ast.parse(source))
        except SyntaxError:
            return False


def _short(text: str) -> str:
    return " ".join(text.split())


def mutants_of(root: Path, path: str) -> list[Mutant]:
    """Return all mutants of a file, in the order of the text. Some of them may not be valid Python."""
    content = (root / path).read_bytes()
    found: dict[tuple[int, int, str], Mutant] = {}
    for start, end, new, kind, place in _python(content) if path.endswith(".py") else _other(content):
        old = content[start:end].decode()
        line = content.count(b"\n", 0, start) + 1
        if old != new:
            mutant = Mutant(path, start, old, new, kind, line, *lines_of(content, start, end, new), place)
            found.setdefault((start, end, new), mutant)
    return sorted(found.values(), key=lambda mutant: (mutant.start, len(mutant.old), mutant.new))


def lines_of(content: bytes, start: int, end: int, new: str) -> tuple[str, str]:
    """Return the lines that contain a change, before and after it, stripped."""
    first, last = content.rfind(b"\n", 0, start) + 1, content.find(b"\n", end)
    last = len(content) if last < 0 else last
    after = content[first:start] + new.encode() + content[end:last]
    return content[first:last].decode().strip(), after.decode().strip()


def _python(content: bytes) -> Iterator[tuple[int, int, str, str, Place]]:
    source = Source(content)
    for node, place in source.nodes():
        if isinstance(node, ast.stmt):
            changes = statements.changes(source, node)
        elif isinstance(node, ast.Constant | ast.JoinedStr) and source.is_text(node):
            start, end = source.span(node)
            changes = texts.changes(content[start:end], start, source.generates)
        else:
            changes = expressions.changes(source, node)
        for start, end, new, kind in changes:
            yield start, end, new, kind, place


def _other(content: bytes) -> Iterator[tuple[int, int, str, str, Place]]:
    whole = Place((1, content.count(b"\n") + 1), False, (1, content.count(b"\n") + 1))
    for start, end, new, kind in texts.changes(content, 0, True, statements=True):
        yield start, end, new, kind, whole
