"""Faults in code inside strings and headers: templates of Triton and C++, formulas, and C++ headers."""

from __future__ import annotations

import re
from collections.abc import Iterator

from benchmarks.mutants.places import Change

BEFORE = r"(?<=[\w)\]}]) "
AFTER = r" (?=[\w({\[&*\-.])"
SIGNS = {
    "+": "-", "-": "+", "*": "/", "/": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "==",
    "&&": "||", "||": "&&", "+=": "-=", "-=": "+=", "&": "|", "|": "&", "//": "/",
}  # fmt: skip
SIGN = re.compile(
    BEFORE + "(" + "|".join(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True)) + ")" + AFTER
)
TERM = re.compile(BEFORE + r"[-+*] [\w.]+(?=[\s)\],;\"']|$)")
ADDED = re.compile(BEFORE + r"\+=" + AFTER)
NUMBER = re.compile(r"(?<![\w.{\[%])(\d+)(\.\d+)?(?![\w.}%:])")
WORDS = re.compile(
    r"\b(minimum|maximum|fmin|fmax|fminf|fmaxf|first|last|true|false|True|False|sum|max|min)\b(?=[(,;)\s])"
)
OTHER = {
    "minimum": "maximum", "fmin": "fmax", "fminf": "fmaxf", "first": "last", "true": "false", "True": "False",
    "min": "max", "sum": "max",
}  # fmt: skip
OTHER = {**{new: old for old, new in OTHER.items()}, **OTHER, "max": "min"}
STATEMENT = re.compile(r"^(\s+)(?!return|const|auto|using|for|if|else|//)[\w\[\]().>*-]+(?: [-+*/|&]?= .*|\(.*\));$")
PROSE = re.compile(r"^\s*(//|#|\"\"\"|\*)|[a-z]+ (is|are|of|the|and|be) [a-z]")


def changes(content: bytes, start: int, generates: bool, statements: bool = False) -> Iterator[Change]:
    """Yield the faults of a text in a file.

    Args:
        content: the text, including its quotes.
        start: position of its first byte in the file.
        generates: whether texts in the file are code in another language, so that numbers and words are mutated too.
        statements: whether the lines are C++ statements.
    """
    at = start
    for raw in content.split(b"\n"):
        line = raw.decode()
        if not PROSE.search(line):
            for first, end, new, kind in _line(line, generates, statements):
                yield at + len(line[:first].encode()), at + len(line[:end].encode()), new, kind
        at += len(raw) + 1


def _line(line: str, generates: bool, statements: bool) -> Iterator[Change]:
    code = line.split("//")[0].rstrip() if statements else line
    if "\\" in code and not generates:  # LaTeX
        return
    for found in SIGN.finditer(code):
        yield *found.span(1), SIGNS[found[1]], "another operator in a text"
    for found in TERM.finditer(code):
        yield found.start() - 0, found.end(), "", "a term left out of a text"
    if not generates or not re.search(r"[=(\[;]", code):
        return
    for found in ADDED.finditer(code):
        yield found.start() + 1, found.end() - 1, "=", "assigned instead of added in a text"
    for found in NUMBER.finditer(code):
        new = f"{int(found[1]) + 1}{found[2] or ''}"
        yield *found.span(), new, "another constant in a text"
    for found in WORDS.finditer(code):
        yield *found.span(), OTHER[found[1]], "the other of two in a text"
    if statements:
        for found in STATEMENT.finditer(code):
            yield found.end(1), found.end(), ";", "a statement left out of a text"
