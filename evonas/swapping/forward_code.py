"""Analysis of the bytecode of a module's forward: whether it can be traced reliably, and whether rewritten."""

from __future__ import annotations

import dis
import inspect
import types
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

_TENSOR_CHECKS = {"isinstance", "is_tensor"}
_WITH_OPCODES = {"BEFORE_WITH", "SETUP_WITH", "LOAD_SPECIAL"}
_NAMES = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_ATTR", "LOAD_METHOD", "LOAD_DEREF"}
_UNSAFE_CALLS = {"checkpoint", "print", "custom_fwd"}


@dataclass(frozen=True)
class ForwardCode:
    """Properties of a forward, including the methods that it calls and the functions outside PyTorch that it calls.

    Attributes:
        obstacle: why a trace of it cannot be trusted; None if it can.
        unrewritable: why a graph cannot replace it; None if it can.
        checks_tensors: whether it asks which of its values are tensors, so that it may take other paths for lists.
        defaults: its optional arguments and their default values.
        attributes: how often each attribute of `self` is read, by name, apart from tests whether it is there.
    """

    obstacle: str | None
    unrewritable: str | None
    checks_tensors: bool
    defaults: Mapping[str, Any]
    attributes: Mapping[str, int]

    @staticmethod
    def of(module: nn.Module) -> ForwardCode:
        """Analyse the forward of a module."""
        forward = type(module).forward
        if "forward" in vars(module) or not isinstance(forward, types.FunctionType):
            return ForwardCode("its forward is not the one of its class", "", False, {}, {})
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
        elif "type" in names:
            obstacle = "its forward asks for types"  # tracing passes proxies
        if plain is not forward:
            unrewritable = "its forward is decorated"
        elif defaults:
            unrewritable = "its forward has optional arguments"
        elif names & _TENSOR_CHECKS:
            unrewritable = f"its forward checks types ({', '.join(sorted(names & _TENSOR_CHECKS))})"
        elif kinds & _WITH_OPCODES:
            unrewritable = "its forward opens a context (`with`)"
        elif names & _UNSAFE_CALLS:
            unrewritable = f"its forward uses {', '.join(sorted(names & _UNSAFE_CALLS))}"
        read = Counter(
            str(instructions[place].argval)
            for place in range(1, len(instructions))
            if instructions[place].opname in ("LOAD_ATTR", "LOAD_METHOD")
            and _loads_self(instructions[place - 1])
            and not _is_tested(instructions[place + 1 : place + 3])
        )
        return ForwardCode(obstacle, unrewritable, bool(names & _TENSOR_CHECKS), defaults, read)


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


def _is_tested(following: Sequence[dis.Instruction]) -> bool:
    """Whether the instructions behind a value only ask whether it is None, or true."""
    names = [instruction.opname for instruction in following]
    if names == ["LOAD_CONST", "IS_OP"]:
        return following[0].argval is None
    return names[0] == "TO_BOOL" or names[0].startswith("POP_JUMP")


def _method(cls: type, name: str) -> Any:
    for base in cls.__mro__:
        if base is nn.Module:
            return None
        if name in vars(base):
            found = vars(base)[name]
            return found.__func__ if isinstance(found, staticmethod | classmethod) else found
    return None
