"""Faults in expressions, such as a different operator, an off-by-one bound, or a missing argument or term."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from benchmarks.mutants.places import UNSEEN, Change, Source, name_of

COMPARED = {
    "<": ("<=", ">="), "<=": ("<", ">"), ">": (">=", "<="), ">=": (">", "<"), "==": ("!=",), "!=": ("==",),
    "is": ("is not",), "is not": ("is",), "in": ("not in",), "not in": ("in",),
}  # fmt: skip
COMPARISON = re.compile(rb"<=|>=|==|!=|<|>|\bnot\s+in\b|\bin\b|\bis\s+not\b|\bis\b")
CALCULATED = {
    ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "/", ast.Mod: "*", ast.Pow: "*",
    ast.BitAnd: "|", ast.BitOr: "&", ast.LShift: ">>", ast.RShift: "<<",
}  # fmt: skip
OPERATOR = re.compile(rb"\*\*|//|<<|>>|[-+*/%&|@^]")
TWINS = [
    ("min", "max"), ("any", "all"), ("floor", "ceil"), ("startswith", "endswith"), ("amin", "amax"), ("mean", "sum"),
    ("argmin", "argmax"), ("minimum", "maximum"), ("first", "last"), ("width", "height"), ("h", "w"),
    ("before", "after"), ("union", "intersection"), ("add", "discard"), ("keys", "values"), ("rstrip", "lstrip"),
    ("items", "values"), ("and_", "or_"), ("append", "extend"), ("left", "right"), ("forward", "backward"),
    ("index", "number"), ("std", "var"), ("sqrt", "square"), ("zeros_like", "ones_like"), ("weight", "bias"),
]  # fmt: skip
BUILT_IN = {"min", "max", "any", "all"}
OTHER = {**dict(TWINS), **{one: other for other, one in TWINS}}
STEPS = frozenset(
    {
        "where", "order_by", "limit", "offset", "distinct", "clone", "detach", "contiguous", "copy", "float", "double",
        "lower", "upper", "strip", "rstrip", "lstrip", "abs", "clamp", "clamp_min", "flatten", "desc", "resolve", "to",
        "with_for_update", "astype", "expanduser", "removesuffix", "removeprefix", "join_from",
    }
)  # fmt: skip
"""Methods that return an object like the one they are called on, so that the call could have been forgotten."""
WRAPPERS = frozenset(
    {"abs", "round", "deepcopy", "copy", "tuple", "list", "set", "dict", "reversed", "frozenset", "square"}
)
"""Functions for which the same is true."""
SHORTENED = frozenset(
    {"get", "getattr", "range", "sum", "round", "enumerate", "where", "and_", "or_", "filter", "next", "pop"}
)
"""Functions that also accept fewer arguments."""
HARMLESS = UNSEEN | {"strict", "check", "exist_ok", "parents", "missing_ok", "errors", "file", "style", "title"}


def changes(source: Source, node: ast.AST) -> Iterator[Change]:
    """Yield the faults of an expression itself, without those of its parts."""
    match node:
        case ast.Compare():
            yield from _compared(source, node)
        case ast.BinOp():
            yield from _calculated(source, node)
        case ast.BoolOp():
            yield from _combined(source, node)
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield *source.span(node), source.atom(operand), "a sign or a not left out"
            if source.text(node) == "-1" and isinstance(source.parents[node], ast.Subscript):
                yield *source.span(node), "0", "another end"
        case ast.Constant():
            yield from _constant(source, node)
        case ast.IfExp(body=body, orelse=orelse):
            yield *source.span(node), source.atom(body), "a condition fixed"
            yield *source.span(node), source.atom(orelse), "a condition fixed"
        case ast.comprehension(ifs=ifs):
            for test in ifs:
                yield *source.span(test), "True", "a condition fixed"
        case ast.match_case(pattern=pattern, guard=guard):
            if guard is not None:
                yield *source.span(guard), "True", "a condition fixed"
                yield *source.span(guard), "False", "a condition fixed"
            if isinstance(pattern, ast.MatchValue) and isinstance(getattr(pattern.value, "value", None), str):
                _, end = source.span(pattern)
                yield end - 1, end - 1, "-", "a case never taken"
        case ast.Call():
            yield from _called(source, node)
        case ast.Slice():
            for bound in (node.lower, node.upper, node.step):
                if bound is not None:
                    yield *source.span(bound), "", "a bound left out"
                    if not isinstance(bound, ast.Constant) and bound is not node.step:
                        yield *source.span(bound), f"{source.atom(bound)} + 1", "one off"
        case ast.Dict(keys=keys, values=values) if len(keys) >= 2 and None not in keys:
            spans = [(source.span(k)[0], source.span(v)[1]) for k, v in zip(keys, values, strict=True) if k is not None]
            yield from _without(spans, "an item left out")
        case ast.List(elts=items) | ast.Set(elts=items) if len(items) >= 2 and _loaded(node):
            yield from _without([source.span(item) for item in items], "an item left out")
        case ast.Tuple(elts=items) if len(items) >= 2 and _loaded(node):
            yield from _tuple(source, node, items)
        case ast.Name(ctx=ast.Load()):
            yield from _named(source, node)
        case ast.Attribute(ctx=ast.Load(), attr=attribute) if attribute in OTHER:
            _, end = source.span(node)
            yield end - len(attribute.encode()), end, OTHER[attribute], "the other of two"


def _loaded(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", ast.Load()), ast.Load)


def _gap(source: Source, one: ast.expr, other: ast.expr, pattern: re.Pattern[bytes]) -> tuple[int, int, str]:
    """Find an operator between its operands, where there may also be brackets and comments."""
    start, end = source.span(one)[1], source.span(other)[0]
    found = pattern.search(source.content, start, end)
    assert found is not None
    return found.start(), found.end(), " ".join(found.group().decode().split())


def _compared(source: Source, node: ast.Compare) -> Iterator[Change]:
    operands = [node.left, *node.comparators]
    for one, other in pairwise(operands):
        start, end, sign = _gap(source, one, other, COMPARISON)
        for new in COMPARED.get(sign, ()):
            yield start, end, new, "another comparison"
    if len(operands) > 2:
        yield source.span(operands[-2])[1], source.span(node)[1], "", "a bound left out"
        yield source.span(node)[0], source.span(operands[1])[0], "", "a bound left out"


def _calculated(source: Source, node: ast.BinOp) -> Iterator[Change]:
    texts = [
        isinstance(side, ast.JoinedStr) or isinstance(getattr(side, "value", None), str)
        for side in (node.left, node.right)
    ]
    for side in (node.left, node.right):
        yield *source.span(node), source.atom(side), "a term left out"
    if type(node.op) in CALCULATED and not any(texts) and not isinstance(node.left, ast.List):
        start, end, _ = _gap(source, node.left, node.right, OPERATOR)
        yield start, end, CALCULATED[type(node.op)], "another operator"
    if isinstance(node.op, ast.Sub | ast.Div):
        sign = "-" if isinstance(node.op, ast.Sub) else "/"
        yield *source.span(node), f"{source.atom(node.right)} {sign} {source.atom(node.left)}", "swapped"


def _combined(source: Source, node: ast.BoolOp) -> Iterator[Change]:
    spans = [source.span(value) for value in node.values]
    if len(node.values) == 2:
        for value in node.values:
            yield *source.span(node), source.atom(value), "a condition left out"
        word = rb"\band\b" if isinstance(node.op, ast.And) else rb"\bor\b"
        start, end, sign = _gap(source, node.values[0], node.values[1], re.compile(word))
        yield start, end, "or" if sign == "and" else "and", "another operator"
    else:
        yield from _without(spans, "a condition left out")


def _constant(source: Source, node: ast.Constant) -> Iterator[Change]:
    value, span = node.value, source.span(node)
    if isinstance(source.parents.get(node), ast.UnaryOp) and value == 1:
        return  # an index from the end: the sign is enough
    if isinstance(value, bool):
        yield *span, str(not value), "another constant"
    elif isinstance(value, int):
        yield *span, str(value + 1), "another constant"
        if value > 0:
            yield *span, str(value - 1), "another constant"
        if value == 0 and isinstance(source.parents.get(node), ast.Subscript):
            yield *span, "-1", "another end"
    elif isinstance(value, float):
        yield *span, repr(2 * value) if value else "1.0", "another constant"


def _called(source: Source, node: ast.Call) -> Iterator[Change]:
    name, span = name_of(node.func), source.span(node)
    arguments = sorted([*node.args, *node.keywords], key=source.span)
    spans = [source.span(argument) for argument in arguments]
    for argument, change in zip(arguments, _each_without(spans, "an argument left out"), strict=True):
        if isinstance(argument, ast.keyword):
            allowed = argument.arg is not None and argument.arg not in HARMLESS
        else:
            allowed = name in SHORTENED and argument is not node.args[0] and len(arguments) > 1
            allowed = allowed or (name in ("where", "and_", "or_", "filter") and len(arguments) > 1)
        if allowed:
            yield change
    for one, other in pairwise(node.args):
        alike = type(one) is type(other) and isinstance(one, ast.Name | ast.Attribute | ast.Subscript)
        if alike and name not in ("isinstance", "issubclass", "min", "max"):
            first, last = source.span(one), source.span(other)
            between = source.content[first[1] : last[0]].decode()
            yield first[0], last[1], f"{source.text(other)}{between}{source.text(one)}", "swapped"
    if isinstance(node.func, ast.Attribute) and name in STEPS:
        yield *span, source.atom(node.func.value), "a call left out"
    if name == "sorted" and node.args:
        yield *span, f"list({source.text(node.args[0])})", "a call left out"
    if isinstance(node.func, ast.Name) and name in WRAPPERS and len(node.args) == 1:
        yield *span, source.atom(node.args[0]), "a call left out"
    if isinstance(node.func, ast.Name) and name in ("min", "max") and len(node.args) == 2:
        for argument in node.args:
            yield *span, source.atom(argument), "a bound left out"
    if name == "range" and len(node.args) == 1:
        yield *span, f"range(1, {source.text(node.args[0])})", "one off"
        yield *span, f"range({source.atom(node.args[0])} - 1)", "one off"


def _each_without(spans: Sequence[tuple[int, int]], kind: str) -> list[Change]:
    """Return changes that leave out one item each of a separated list."""
    if len(spans) == 1:
        return [(*spans[0], "", kind)]
    first = [(spans[0][0], spans[1][0], "", kind)] if spans else []
    return [*first, *((spans[i - 1][1], spans[i][1], "", kind) for i in range(1, len(spans)))]


def _without(spans: Sequence[tuple[int, int]], kind: str) -> Iterator[Change]:
    yield from _each_without(spans, kind)


def _tuple(source: Source, node: ast.Tuple, items: Sequence[ast.expr]) -> Iterator[Change]:
    parent = source.parents[node]
    a_list = isinstance(parent, ast.Compare | ast.Call | ast.Lambda | ast.ExceptHandler | ast.For | ast.comprehension)
    if not a_list and not (isinstance(parent, ast.Assign) and source.function_of(node) is None):
        return
    if len(items) > 2:
        yield from _without([source.span(item) for item in items], "an item left out")
    else:
        for item in items:
            yield *source.span(node), f"({source.text(item)},)", "an item left out"


def _named(source: Source, node: ast.Name) -> Iterator[Change]:
    span = source.span(node)
    if node.id in BUILT_IN:
        yield *span, OTHER[node.id], "the other of two"
        return
    function = source.function_of(node)
    if function is None:
        return
    for group in source.alike(function):
        if node.id in group:
            yield *span, group[(group.index(node.id) + 1) % len(group)], "another variable"
            return
