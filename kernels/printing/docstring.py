"""Text for the docstrings of exported files: the formula, and text from users, which may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evonas.errors import GraphError
from evonas.language.graph import Graph

WIDTH = 100
"""The longest line of an exported file, in characters."""
LONGEST_FORMULA = 2000
"""A formula of more characters than this is left out of the docstring, since nobody would read it."""


def quoted(text: str) -> str:
    r"""`text` made safe for a raw docstring: on one line, unable to end it, without invisible characters.

    Double quotes become apostrophes. Characters that do not print (newlines, control and bidirectional
    characters, lone surrogates) are written as escapes such as \n or \u202e.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text).replace('"', "'"))


def formula(graph: Graph, indent: str = "", *, in_latex: bool) -> list[str]:
    """Lines of a docstring that show the graph as an expression and, with `in_latex`, as LaTeX."""
    try:
        text, latex = graph.expression(), graph.latex()
    except GraphError:
        text = latex = " " * (LONGEST_FORMULA + 1)
    if max(len(text), len(latex)) > LONGEST_FORMULA:
        return [indent + "Its formula is too long to be written in one line of mathematics; see `_graph`."]
    inner = indent + "    "
    lines = [*wrapped(text, inner, inner)]
    return [*lines, "", "In LaTeX:", "", *wrapped(latex, inner, inner)] if in_latex else lines


def wrapped(text: str, first: str, rest: str) -> Iterator[str]:
    """`text` in lines of at most `WIDTH`, broken where a space changes neither an expression nor LaTeX."""
    line = first
    for part in re.split(r"(?= )|(?=\\)|(?<=\()", text):
        fresh = line in (first, rest)
        if not fresh and len(line) + len(part) > WIDTH:
            yield line.rstrip()
            line, fresh = rest, True
        line += part.lstrip() if fresh else part
        while len(line) > WIDTH:
            yield line[:WIDTH]
            line = rest + line[WIDTH:]
    yield line.rstrip()
