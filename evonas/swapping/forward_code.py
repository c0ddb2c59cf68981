"""Analysis of the bytecode of a module's forward: whether it can be traced reliably, and whether rewritten."""

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

_TYPE_CHECKS = {"isinstance", "type"}  # tracing passes proxies, which are not tensors
_WITH_OPCODES = {"BEFORE_WITH", "SETUP_WITH", "LOAD_SPECIAL"}
_NAMES = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "LOAD_DEREF"}
_UNSAFE_CALLS = {"checkpoint", "print", "custom_fwd"}


@dataclass(frozen=True)
class ForwardCode:
    """Properties of a forward, including the methods that it calls and the functions outside PyTorch that it calls.

    Attributes:
        obstacle: why a trace of it cannot be trusted; None if it can.
        unrewritable: why a graph cannot replace it; None if it can.
        defaults: its optional arguments and their default values.
        attributes: how often each attribute of `self` is read, by name.
    """

    obstacle: str | None
    unrewritable: str | None
    defaults: Mapping[str, Any]
    attributes: Mapping[str, int]

    @staticmethod
    def of(module: nn.Module) -> ForwardCode:
        """Analyse the forward of a module."""
        forward = type(module).forward
        if "forward" in vars(module) or not isinstance(forward, types.FunctionType):
            return ForwardCode("its forward is not the one of its class", "", {}, {})
        plain = inspect.unwrap(forward)
        parameters = list(inspect.signature(plain).parameters.values())[1:]
        variadic = any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        instructions = [i for code in _code_objects(type(module), plain) for i in dis.get_instructions(code)]
        kinds = {i.opname for i in instructions}
        names = {str(i.argval) for i in instructions if i.opname in _NAMES}
        obstacle = unrewritable = None
        if variadic:
            obstacle = "its forward takes any number of arguments"
        elif kinds & {"STORE_ATTR", "DELETE_ATTR"}:
            obstacle = "its forward sets attributes"
        elif kinds & {"STORE_GLOBAL", "YIELD_VALUE"}:
            obstacle = "its forward has side effects"
        elif names & _TYPE_CHECKS:
            obstacle = f"its forward checks types ({', '.join(sorted(names & _TYPE_CHECKS))})"
        if plain is not forward:
            unrewritable = "its forward is decorated"
        elif defaults:
            unrewritable = "its forward has optional arguments"
        elif kinds & _WITH_OPCODES:
            unrewritable = "its forward opens a context (`with`)"
        elif names & _UNSAFE_CALLS:
            unrewritable = f"its forward uses {', '.join(sorted(names & _UNSAFE_CALLS))}"
        read = Counter(
            str(after.argval)
            for before, after in pairwise(instructions)
            if after.opname in ("LOAD_ATTR", "LOAD_METHOD") and _loads_self(before)
        )
        return ForwardCode(obstacle, unrewritable, defaults, read)


def _code_objects(cls: type, function: types.FunctionType) -> Iterator[types.CodeType]:
    """Yield the code of a forward, of functions defined in it, and of functions and methods that it names."""
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
