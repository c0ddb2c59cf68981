"""What the source of a module's forward tells before it is run: whether a trace of it could be trusted."""

from __future__ import annotations

import dis
import inspect
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import nn

_ASKS = {"isinstance", "type"}  # a stand-in for a tensor is none
_CONTEXTS = {"BEFORE_WITH", "SETUP_WITH", "LOAD_SPECIAL"}
_NAMES = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "LOAD_DEREF"}
_SPECIAL = {"checkpoint", "print", "custom_fwd"}


@dataclass(frozen=True)
class ForwardCode:
    """Facts on a forward, the methods that it calls, and the functions outside of PyTorch that it calls.

    Attributes:
        obstacle: why a trace of it would mislead; None if it would not.
        fixed: why a graph in its place would not do the same; None if it would.
        defaults: its optional arguments.
        attributes: how often each name is read as an attribute of `self`.
    """

    obstacle: str | None
    fixed: str | None
    defaults: Mapping[str, Any]
    attributes: Mapping[str, int]

    @staticmethod
    def of(module: nn.Module) -> ForwardCode:
        """The facts on a module's forward."""
        forward = type(module).forward
        if "forward" in vars(module) or not isinstance(forward, types.FunctionType):
            return ForwardCode("its forward is not the one of its class", "", {}, {})
        plain = inspect.unwrap(forward)
        parameters = list(inspect.signature(plain).parameters.values())[1:]
        variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        instructions = [i for code in _codes(type(module), plain) for i in dis.get_instructions(code)]
        kinds = {i.opname for i in instructions}
        names = {str(i.argval) for i in instructions if i.opname in _NAMES}
        obstacle = fixed = None
        if variadic:
            obstacle = "its forward takes any number of arguments"
        elif kinds & {"STORE_ATTR", "DELETE_ATTR"}:
            obstacle = "its forward sets attributes"
        elif kinds & {"STORE_GLOBAL", "YIELD_VALUE"}:
            obstacle = "its forward has effects beside its value"
        elif names & _ASKS:
            obstacle = f"its forward asks for types ({', '.join(sorted(names & _ASKS))})"
        if plain is not forward:
            fixed = "its forward is decorated"
        elif defaults:
            fixed = "its forward has optional arguments"
        elif kinds & _CONTEXTS:
            fixed = "its forward opens a context (`with`)"
        elif names & _SPECIAL:
            fixed = f"its forward uses {', '.join(sorted(names & _SPECIAL))}"
        read = Counter(
            str(after.argval)
            for before, after in pairwise(instructions)
            if after.opname in ("LOAD_ATTR", "LOAD_METHOD") and _loads_self(before)
        )
        return ForwardCode(obstacle, fixed, defaults, read)


def _codes(cls: type, function: types.FunctionType) -> Iterator[types.CodeType]:
    """The code of a forward, of what is defined in it, and of the functions and methods that it names."""
    waiting: list[types.CodeType | types.FunctionType] = [function]
    seen: set[types.CodeType] = set()
    scope = function.__globals__
    while waiting:
        item = waiting.pop()
        if isinstance(item, types.FunctionType):
            scope, item = item.__globals__, item.__code__
        if item in seen:
            continue
        seen.add(item)
        yield item
        waiting += [constant for constant in item.co_consts if isinstance(constant, types.CodeType)]
        for name in item.co_names:
            for found in (_method(cls, name), scope.get(name)):
                plain = inspect.unwrap(found) if isinstance(found, types.FunctionType) else None
                if isinstance(plain, types.FunctionType) and not plain.__module__.startswith("torch."):
                    waiting.append(plain)


def _loads_self(instruction: dis.Instruction) -> bool:
    loaded = instruction.argval[-1] if isinstance(instruction.argval, tuple) else instruction.argval
    return instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and loaded == "self"


def _method(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        if base is nn.Module:
            return None
        if name in vars(base):
            found = vars(base)[name]
            return found.__func__ if isinstance(found, staticmethod | classmethod) else found
    return None
