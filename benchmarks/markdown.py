"""Tables for the pages of the documentation, so that tests can hold the pages to the JSON they quote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(header: Iterable[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    head = list(header)
    lines = ["".join(f"| {cell} " if cell else "| " for cell in row) + "|" for row in (head, *rows)]
    return [lines[0], "|" + "---|" * len(head), *lines[1:]]
