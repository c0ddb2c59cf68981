"""Copies definitions out of a file as text, for exported files: those that some code uses, directly or indirectly."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path


@cache
def top_level_definitions(file: str) -> Mapping[str, str]:
    """The source of each function, class and constant at the top level of a file of `kernels/`, by name.

    The file is read as text and not imported, so it may import packages that are not installed.

    Args:
        file: its path below `kernels/`.
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
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):  # its docstring
                last = after.end_lineno
        else:
            continue
        found[name] = "\n".join(lines[first - 1 : last])
    return found


def used_definitions(known: Mapping[str, str], source: str) -> Sequence[str]:
    """The names of the definitions that `source` uses, directly or through other definitions, in their order."""
    wanted: set[str] = set()
    queue = [source]
    while queue:
        tree = ast.parse(queue.pop())
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & known.keys() - wanted
        wanted |= used
        queue += [known[name] for name in used]
    return [name for name in known if name in wanted]
