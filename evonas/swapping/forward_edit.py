"""A module whose forward is written anew from a graph, and that stays what it was in all other respects.

The module keeps its object, parameters, hooks and attributes; its class becomes one derived from its own, which
differs in the forward alone. It can be copied and pickled.
"""

from __future__ import annotations

import importlib
import linecache
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import fx, nn


class Recipe:
    """How a class with another forward is made: the class it derives from, sources, and names that those use."""

    def __init__(self, base: type[nn.Module], sources: Sequence[str], names: Mapping[str, Any]) -> None:
        self.base, self.sources, self.names = base, tuple(sources), dict(names)
        forwards = [self._forward(number, source) for number, source in enumerate(self.sources)]
        if len(forwards) == 1:
            forward = forwards[0]
        else:

            def forward(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
                return forwards[0 if module.training else 1](module, *args, **kwargs)

        space = {"forward": forward, "__reduce__": _reduce, "_evonas_recipe": self, "__doc__": base.__doc__}
        self.made = cast("type[nn.Module]", type(base.__name__, (base,), space))
        self.made.__module__ = base.__module__
        self.made.__qualname__ = base.__qualname__

    def _forward(self, number: int, source: str) -> Any:
        file = f"<forward {number} of {self.base.__qualname__}, {id(self):x}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # for tracebacks
        space = dict(self.names)
        exec(compile(source, file, "exec"), space)  # source that torch.fx wrote
        return space["forward"]

    def __deepcopy__(self, memo: object) -> Recipe:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        named = {name: _place(value) for name, value in self.names.items()}
        return _from_places, (self.base, self.sources, named)


def rewrite_forward(module: nn.Module, graphs: Sequence[fx.Graph]) -> None:
    """Gives a module the forward of a graph, or of two: one for training and one for evaluation."""
    sources, names = [], {}
    for graph in graphs:
        graph.lint()
        code = graph.python_code("self")
        sources.append(code.src)
        names.update({name: v for name, v in code.globals.items() if re.search(rf"\b{re.escape(name)}\b", code.src)})
    if len(set(sources)) == 1:
        sources = sources[:1]
    module.__class__ = Recipe(type(module), sources, names).made


def _reduce(module: nn.Module) -> tuple[Any, ...]:
    return _blank, (cast("Any", module)._evonas_recipe,), vars(module)


def _blank(recipe: Recipe) -> nn.Module:
    return recipe.made.__new__(recipe.made)


def _place(value: Any) -> tuple[str, str] | Any:
    """Where a module or function is imported from; other values as they are."""
    if isinstance(value, types.ModuleType):
        return ("module", value.__name__)
    if callable(value) and hasattr(value, "__qualname__") and getattr(value, "__module__", None):
        return (value.__module__, value.__qualname__)
    name = getattr(value, "__name__", "")
    if callable(value) and getattr(torch, name, None) is value:
        return ("torch", name)
    return value


def _from_places(base: type[nn.Module], sources: Sequence[str], named: Mapping[str, Any]) -> Recipe:
    names = {}
    for name, place in named.items():
        if not isinstance(place, tuple):
            names[name] = place
        elif place[0] == "module":
            names[name] = importlib.import_module(place[1])
        else:
            value: Any = importlib.import_module(place[0])
            for part in place[1].split("."):
                value = getattr(value, part)
            names[name] = value
    return Recipe(base, sources, names)
