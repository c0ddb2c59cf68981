"""HTML for notebooks, in which all text is escaped: paragraphs, tables and folded parts.

It has no style sheet, script or address, so that it looks like the notebook that shows it and requests nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isnan

from markupsafe import Markup, escape

Cell = str | float | None
"""What a table shows in a cell: text, a number with three decimals, or nothing. `Markup` is shown as it is."""


def block(*parts: str) -> Markup:
    """Parts below each other: `Markup` as it is, other text escaped."""
    return Markup("<div>{}</div>").format(_joined(parts))


def paragraph(*parts: str) -> Markup:
    """A paragraph of parts in a row."""
    return Markup("<p>{}</p>").format(_joined(parts))


def code(text: str) -> Markup:
    """Text in the font of programs."""
    return Markup("<code>{}</code>").format(text)


def wide(inside: str) -> Markup:
    """What may be wider than the notebook, and is scrolled then."""
    return Markup('<div style="overflow: auto hidden; padding: 0.3em 0">{}</div>').format(inside)


def folded(summary: str, inside: str) -> Markup:
    """A part that is shown once its summary is clicked."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, inside)


def items(inside: Iterable[str]) -> Markup:
    """A list."""
    return Markup("<ul>{}</ul>").format(_joined(Markup("<li>{}</li>").format(one) for one in inside))


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Markup:
    """A table with a line of headings."""
    head = _joined(Markup("<th>{}</th>").format(heading) for heading in headings)
    body = (_joined(Markup("<td>{}</td>").format(_shown(cell)) for cell in row) for row in rows)
    lines = _joined(Markup("<tr>{}</tr>").format(line) for line in body)
    return Markup("<table><tr>{}</tr>{}</table>").format(head, lines)


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return "–" if isnan(cell) else f"{cell:.3f}"
    return "" if cell is None else cell


def _joined(parts: Iterable[str]) -> Markup:
    return Markup("").join(map(escape, parts))
