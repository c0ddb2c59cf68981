"""Copies definitions out of a file as text, for exported files: those that some code uses, and what these use."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def definitions(file: str) -> Mapping[str, str]:
    """The source of each function, class and constant at the top of a file of `kernels/`, by name.

    It is read and not imported, so that it may need what is not installed.
    """
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    lines, body = text.splitlines(), ast.parse(text).body
    found = {}
    for number, statement in enumerate(body):
        last = statement.end_lineno
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            name = statement.name
            first = min([statement.lineno, *(d.lineno for d in statement.decorator_list)])
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, first = statement.targets[0].id, statement.lineno
            after = body[number + 1] if number + 1 < len(body) else None
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):  # what documents it
                last = after.end_lineno
        else:
            continue
        found[name] = "\n".join(lines[first - 1 : last])
    return found


def needed(known: Mapping[str, str], source: str) -> Sequence[str]:
    """The names of those definitions that `source` uses, and of those that these use, in their order."""
    wanted: set[str] = set()
    queue = [source]
    while queue:
        tree = ast.parse(queue.pop())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & known.keys() - wanted
        wanted |= used
        queue += [known[name] for name in used]
    return [name for name in known if name in wanted]
