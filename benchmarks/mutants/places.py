"""A Python file with its syntax tree: the position and context of each node, and which nodes are not mutated."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

Change = tuple[int, int, str, str]
"""A change: first byte, end, new text, and kind of change."""

QUIET = frozenset(
    {
        "print", "warn", "debug", "info", "warning", "error", "exception", "log", "getLogger", "TypeVar", "NewType",
        "ParamSpec", "set_num_threads", "sleep", "simplefilter", "filterwarnings", "add_note",
    }
)  # fmt: skip
"""Functions whose calls are not mutated, because they are for people or type checkers."""
UNSEEN = frozenset(
    {
        "timeout", "maxsize", "indent", "stacklevel", "help", "description", "daemon", "name", "flush", "encoding",
        "slots", "alpha", "color", "facecolor", "edgecolor", "linewidth", "fontsize", "fontweight", "zorder", "ha",
        "va", "bbox", "boxstyle", "arrowstyle", "mutation_scale", "dpi",
    }
)  # fmt: skip
"""Keyword arguments that tests need not check: those for people, for performance, or for the look of pictures."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a node in the code.

    Attributes:
        lines: first and last line of its statement, without the statement's body.
        deferred: whether it is run only by calls, rather than when the module is imported.
        around: first and last line of the function, class or file that contains it.
    """

    lines: tuple[int, int]
    deferred: bool
    around: tuple[int, int]


class Source:
    """The text of a file and its syntax tree.

    Args:
        content: content of the file.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.tree = ast.parse(content)
        self._starts = [0]
        for line in content.split(b"\n"):
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._alike: dict[ast.AST, list[list[str]]] = {}
        self.parents: dict[ast.AST, ast.AST] = {}
        for node in ast.walk(self.tree):
            for child in ast.iter_child_nodes(node):
                self.parents[child] = node
        self.generates = "triton" in content.decode().lower() or b"C++" in content or b"torch." in content

    def span(self, node: ast.AST) -> tuple[int, int]:
        """Return the first byte of a node, and the one after its last."""
        if isinstance(node, ast.expr | ast.stmt | ast.keyword | ast.arg | ast.pattern | ast.ExceptHandler):
            assert node.end_lineno is not None
            assert node.end_col_offset is not None
            return self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)
        raise TypeError(f"{type(node).__name__} has no position")

    def _at(self, line: int, column: int) -> int:
        return self._starts[line - 1] + column

    def text(self, node: ast.AST) -> str:
        """Return the text of a node."""
        start, end = self.span(node)
        return self.content[start:end].decode()

    def atom(self, node: ast.expr) -> str:
        """Return the text of an expression, in brackets if it needs them as an operand."""
        simple = ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant | ast.List | ast.Dict | ast.Set
        return self.text(node) if isinstance(node, simple) else f"({self.text(node)})"

    def function_of(self, node: ast.AST) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """Return the innermost function that contains a node, not counting lambdas."""
        found: ast.AST | None = self.parents.get(node)
        while found is not None and not isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef):
            found = self.parents.get(found)
        return found

    def alike(self, function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[list[str]]:
        """Return groups of names that could be confused: arguments of equal type, and names unpacked together."""
        if function not in self._alike:
            found = defaultdict(list)
            for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
                if argument.annotation is not None:
                    found[ast.unparse(argument.annotation)].append(argument.arg)
            groups = list(found.values())
            for node in ast.walk(function):
                if isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Store):
                    groups.append([item.id for item in node.elts if isinstance(item, ast.Name) and item.id != "_"])
            self._alike[function] = [group for group in groups if len(group) > 1]
        return self._alike[function]

    def is_text(self, node: ast.Constant | ast.JoinedStr) -> bool:
        """Return whether a constant is a string."""
        return isinstance(node, ast.JoinedStr) or isinstance(node.value, str)

    def nodes(self) -> Iterator[tuple[ast.AST, Place]]:
        """Yield the nodes that may be mutated, each with its place."""
        whole = (1, max(1, self.content.count(b"\n")))
        for statement in self.tree.body:
            yield from self._statement(statement, False, whole)

    def _statement(self, node: ast.stmt, deferred: bool, around: tuple[int, int]) -> Iterator[tuple[ast.AST, Place]]:
        if _let_alone(node, deferred):
            return
        assert node.end_lineno is not None
        body: list[ast.stmt] = []
        for name in ("body", "orelse", "finalbody"):
            body += getattr(node, name, [])
        handlers = [*getattr(node, "handlers", []), *getattr(node, "cases", [])]
        last = min([one.lineno - 1 for one in body] + [_first_line(one) - 1 for one in handlers] + [node.end_lineno])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = (node.lineno, node.end_lineno)
            within = deferred or not isinstance(node, ast.ClassDef)
            header = Place((node.lineno, max(node.lineno, last)), deferred, inner)
            if not isinstance(node, ast.ClassDef):
                for default in (*node.args.defaults, *node.args.kw_defaults):
                    if default is not None:
                        yield from self._expression(default, header)
            for one in node.body:
                yield from self._statement(one, within, inner)
            return
        place = Place((node.lineno, max(node.lineno, last)), deferred, around)
        yield node, place
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                yield from self._statement(child, deferred, around)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                line = _first_line(child)
                own = Place((line, max(line, child.body[0].lineno - 1)), deferred, around)
                yield child, own
                for inner_node in ast.iter_child_nodes(child):
                    if isinstance(inner_node, ast.stmt):
                        yield from self._statement(inner_node, deferred, around)
                    else:
                        yield from self._expression(inner_node, own)
            elif not (isinstance(node, ast.AnnAssign) and child is node.annotation) and not isinstance(node, ast.Raise):
                yield from self._expression(child, place)

    def _expression(self, node: ast.AST, place: Place) -> Iterator[tuple[ast.AST, Place]]:
        if isinstance(node, ast.Call) and name_of(node.func) in QUIET | {"cast"}:
            if name_of(node.func) == "cast" and len(node.args) == 2:
                yield from self._expression(node.args[1], place)
            return
        if isinstance(node, ast.keyword) and node.arg in UNSEEN:
            return
        yield node, place
        if isinstance(node, ast.Lambda) and not place.deferred:
            place = Place((node.lineno, node.end_lineno or node.lineno), True, place.around)
        if not isinstance(node, ast.JoinedStr):  # positions within are wrong before Python 3.12
            for child in ast.iter_child_nodes(node):
                if not (isinstance(node, ast.arg) and child is node.annotation):
                    yield from self._expression(child, place)


def _first_line(node: ast.AST) -> int:
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    assert isinstance(node, ast.ExceptHandler)
    return node.lineno


def name_of(node: ast.AST) -> str:
    """Return the last part of a name, such as `mean` for `x.mean`; "" if the node is not a name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _let_alone(node: ast.stmt, deferred: bool) -> bool:
    """Return whether a statement is not mutated: imports, docstrings, and code for people or type checkers."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Pass() | ast.Global() | ast.Nonlocal():
            return True
        case ast.Expr(value=ast.Constant()):  # docstrings, of attributes too
            return True
        case ast.Expr(value=ast.Call(func=func)) if name_of(func) in QUIET:
            return True
        case ast.If(test=test) if ast.unparse(test).endswith("TYPE_CHECKING") or "__name__" in ast.unparse(test):
            return True
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            a_type = isinstance(value, ast.Subscript | ast.BinOp) and name[:1].isupper() and not name.isupper()
            return name in ("__all__", "__slots__") or (a_type and not deferred)
    return False
