"""Removing calls from the source of a module's methods, which otherwise stay as their author wrote them.

`self.relu(self.bn(x))` becomes `(self.bn(x))`. The module remains the same object; its class is replaced by a subclass
with the changed methods. Where a source cannot be had, or one place calls for several values of which only some go,
`evonas.swapping.forward_edit` writes the forward anew from its graph.
"""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import textwrap
import types
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import fx, nn

from evonas.swapping.subclass import Recipe
from evonas.swapping.tracing import Site, site_of


class MethodSources(Recipe):
    """A recipe for a subclass with other methods.

    Args:
        base: the class.
        sources: the source of each method, by name, indented as in a class.
    """

    def __init__(self, base: type[nn.Module], sources: Mapping[str, str]) -> None:
        self.sources = dict(sources)
        super().__init__(base, {name: _rebuilt(base, name, source) for name, source in sources.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodSources, (self.base, self.sources)


def can_remove(module: nn.Module, calls: Collection[fx.Node], graphs: Sequence[fx.Graph]) -> bool:
    """Return whether calls in a module's forward can be removed from its source.

    Args:
        module: the module.
        calls: the calls, nodes of `graphs`.
        graphs: all graphs of its forward.
    """
    cut = set(calls)
    stay = {site_of(node) for graph in graphs for node in graph.nodes if node not in cut}
    return all(site_of(call) not in stay and _place(module, call) is not None for call in cut)


def remove_calls(module: nn.Module, calls: Collection[fx.Node]) -> None:
    """Remove calls from the source of a module's methods; each gives its argument instead.

    Args:
        module: the module, whose class is replaced.
        calls: calls for which `can_remove` holds.
    """
    cuts: dict[str, dict[tuple[int, int], tuple[int, int]]] = defaultdict(dict)
    for call in calls:
        place = _place(module, call)
        assert place is not None
        cuts[place.method][place.call] = place.argument
    base = type(module)
    module.__class__ = MethodSources(
        base, {name: _without(_source(getattr(base, name)), places) for name, places in cuts.items()}
    ).made


class _Place(NamedTuple):
    """A call in the source of a method: the bytes of the call, and those of its argument within it."""

    method: str
    call: tuple[int, int]
    argument: tuple[int, int]


def _place(module: nn.Module, call: fx.Node) -> _Place | None:
    """Where a call is in the source of a method; None where the source is not known for sure."""
    site = site_of(call)
    name = None if site is None else _method(module, site.code)
    if site is None or name is None:
        return None
    return _place_in(type(module), name, site, call.op == "call_method")  # type: ignore[arg-type]  # classes can be hashed


@lru_cache(maxsize=1024)
def _place_in(cls: type[nn.Module], name: str, site: Site, of_tensor: bool) -> _Place | None:
    """The place of a call in a method of a class; `of_tensor` says that it is one of a tensor, as in y.relu()."""
    method = getattr(cls, name)
    try:
        source = _source(method)
        unchanged = _compiled(cls, method, source)
    except (OSError, TypeError, SyntaxError):
        return None
    if unchanged is None or _program(unchanged) != _program(method.__code__):
        return None  # the file is another by now than the one that was imported
    line, last_line, start, end = list(site.code.co_positions())[site.instruction // 2]
    if line is None or last_line is None or start is None or end is None:
        return None
    first, offsets = site.code.co_firstlineno, _line_starts(source)
    wanted = (offsets[line - first] + start, offsets[last_line - first] + end)
    # In a block of its own, an indented definition parses with its columns as they are.
    block = ast.parse(f"if True:\n{source}" if source[0].isspace() else f"\n{source}")
    for node in ast.walk(block):
        if isinstance(node, ast.Call) and _bytes_of(node, offsets) == wanted:
            argument = _argument(node, of_tensor)
            return None if argument is None else _Place(name, wanted, _bytes_of(argument, offsets))
    return None


def _program(code: types.CodeType) -> list[tuple[str, str]]:
    """What a code does, without offsets and without the form of its calls, which depend on the code around it."""
    names, jumps = {"LOAD_METHOD": "LOAD_ATTR"}, {*dis.hasjrel, *dis.hasjabs}  # also of loops
    return [
        (names.get(one.opname, one.opname), "" if one.opcode in jumps else repr(_named(one.argval)))
        for one in dis.get_instructions(code)
        if one.opname not in ("PUSH_NULL", "EXTENDED_ARG")
    ]


def _named(value: object) -> object:
    return value.co_name if isinstance(value, types.CodeType) else value


def _argument(call: ast.Call, of_tensor: bool) -> ast.expr | None:
    """The argument that an activation is applied to: its first, or the tensor whose method it is."""
    if of_tensor:
        return call.func.value if isinstance(call.func, ast.Attribute) else None
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    given = [*call.args[:1], *(keywords[name] for name in ("input", "x") if name in keywords)]
    return given[0] if given and not isinstance(given[0], ast.Starred) else None


def _method(module: nn.Module, code: types.CodeType) -> str | None:
    """The name of the plain method of a module that has this code."""
    cls = type(module)
    for base in cls.__mro__:
        for name, found in vars(base).items():
            if isinstance(found, types.FunctionType) and found.__code__ is code:
                return name if getattr(cls, name) is found and name not in vars(module) else None
    return None


def _source(method: types.FunctionType) -> str:
    lines, _ = inspect.getsourcelines(method)
    return "".join(lines)


def _line_starts(source: str) -> list[int]:
    """The byte at which each line starts."""
    starts = [0]
    for line in source.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    return starts


def _bytes_of(node: ast.expr, starts: Sequence[int]) -> tuple[int, int]:
    """The bytes of an expression in a source that was parsed with one line before it."""
    assert node.end_lineno is not None and node.end_col_offset is not None  # as parsed
    return starts[node.lineno - 2] + node.col_offset, starts[node.end_lineno - 2] + node.end_col_offset


def _without(source: str, cuts: Mapping[tuple[int, int], tuple[int, int]]) -> str:
    """A source without calls: of each, the argument stays, in parentheses."""
    text = source.encode()
    pieces = [(call[0], argument[0], b"(") for call, argument in cuts.items()]
    pieces += [(argument[1], call[1], b")") for call, argument in cuts.items()]
    for start, end, instead in sorted(pieces, reverse=True):
        text = text[:start] + instead + text[end:]
    return text.decode()


def _rebuilt(base: type[nn.Module], name: str, source: str) -> types.FunctionType:
    """The function of a method with another source."""
    old: types.FunctionType = getattr(base, name)
    file = f"<{base.__qualname__}.{name}, {id(source):x}>"
    code = _compiled(base, old, source, file)
    assert code is not None
    cells = dict(zip(old.__code__.co_freevars, old.__closure__ or (), strict=True))
    closure = tuple(cells[free] for free in code.co_freevars)
    new = types.FunctionType(code, old.__globals__, old.__name__, old.__defaults__, closure)
    new.__kwdefaults__, new.__annotations__ = old.__kwdefaults__, old.__annotations__
    new.__doc__, new.__qualname__, new.__module__ = old.__doc__, old.__qualname__, old.__module__
    return new


def _compiled(base: type, method: types.FunctionType, source: str, file: str | None = None) -> types.CodeType | None:
    """The code of a method from its source, which is compiled in a class of the same name, and not run.

    Args:
        base: a class that has the method.
        method: the method, which says what its code takes from around it.
        source: its source, indented as in a class.
        file: a name under which tracebacks and `inspect` find the source.
    """
    owner = next((cls for cls in base.__mro__ if vars(cls).get(method.__name__) is method), None)
    if owner is None:
        return None
    body = source if source[0].isspace() else textwrap.indent(source, "    ")
    around = [name for name in method.__code__.co_freevars if name != "__class__"]
    head = f"class {owner.__name__}:\n"
    if around:
        margin = body[0]
        head = f"def around({', '.join(around)}):\n{margin}{head}"
        body = textwrap.indent(body, margin)
    whole = head + body
    if file is not None:  # for tracebacks and for TorchScript, which reads the source
        linecache.cache[file] = (len(whole), None, whole.splitlines(keepends=True), file)
    code: types.CodeType | None = compile(whole, file or "<method>", "exec")
    for name in [*(["around"] if around else []), owner.__name__, method.__name__]:
        inside = [] if code is None else code.co_consts
        code = next((c for c in inside if isinstance(c, types.CodeType) and c.co_name == name), None)
    return code
