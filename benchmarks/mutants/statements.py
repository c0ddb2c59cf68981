"""Faults of statements: one is left out, a loop ends too early or too late, a condition is always or never true."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from benchmarks.mutants.places import Change, Source, name_of

AUGMENTED = {ast.Add: "-=", ast.Sub: "+=", ast.Mult: "/=", ast.Div: "*=", ast.BitOr: "&=", ast.BitAnd: "|="}

EMPTY = {"list": "[]", "dict": "{}", "Sequence": "()", "Mapping": "{}", "frozenset": "frozenset()"}
"""Empty values that replace returned values of these types."""


def changes(source: Source, node: ast.stmt) -> Iterator[Change]:
    """Yield the faults of a statement itself, without those of expressions in it."""
    start, end = source.span(node)
    match node:
        case ast.If(test=test):
            yield *source.span(test), "True", "a condition fixed"
            yield *source.span(test), "False", "a condition fixed"
        case ast.While(test=test) if not isinstance(test, ast.Constant):
            yield *source.span(test), "False", "a condition fixed"
        case ast.Continue():
            yield start, end, "break", "another way out of a loop"
            yield start, end, "pass", "another way out of a loop"
        case ast.Break():
            yield start, end, "pass", "another way out of a loop"
        case ast.Return(value=ast.expr() as value):
            yield from _returns(source, node, value)
        case ast.Raise(exc=raised):
            called = raised.func if isinstance(raised, ast.Call) else raised
            if called is None or name_of(called) not in ("NotImplementedError", "AssertionError"):
                yield start, end, "pass", "a statement left out"
        case ast.Delete():
            yield start, end, "pass", "a statement left out"
        case ast.Expr(value=ast.Call() | ast.Await() as call):
            if not source.text(call).startswith("super().__init__"):
                yield start, end, "pass", "a statement left out"
        case ast.AugAssign(target=target, op=op, value=value):
            yield start, end, "pass", "a statement left out"
            yield start, end, f"{source.text(target)} = {source.text(value)}", "assigned instead of added"
            if type(op) in AUGMENTED:
                changed = f"{source.text(target)} {AUGMENTED[type(op)]} {source.text(value)}"
                yield start, end, changed, "another operator"
        case ast.Assign(targets=[target], value=value):
            again = isinstance(target, ast.Name) and any(
                isinstance(one, ast.Name) and one.id == target.id for one in ast.walk(value)
            )
            kept = isinstance(target, ast.Attribute) and _first_assignment(source, node)
            if (isinstance(target, ast.Attribute | ast.Subscript) or again) and not kept:
                yield start, end, "pass", "a statement left out"


def _first_assignment(source: Source, node: ast.stmt) -> bool:
    """Return whether a statement may define an attribute, without which everything fails."""
    function = source.function_of(node)
    return function is not None and function.name in ("__init__", "__new__")


def _returns(source: Source, node: ast.Return, value: ast.expr) -> Iterator[Change]:
    function = source.function_of(node)
    if function is None or function.returns is None:
        return
    said = ast.unparse(function.returns)
    span, plain = source.span(value), isinstance(value, ast.Constant)
    if said == "bool" and not plain:
        yield *span, "True", "another value returned"
        yield *span, "False", "another value returned"
    if ("| None" in said or "Optional" in said) and not plain:
        yield *span, "None", "another value returned"
    for name, empty in EMPTY.items():
        if said.startswith(name) and source.text(value) != empty:
            yield *span, empty, "another value returned"
    if isinstance(value, ast.Tuple) and len(value.elts) == 2:
        one, other = map(source.text, value.elts)
        yield *span, f"({other}, {one})", "swapped"
