"""Subclasses with other methods, made from a recipe, so that modules of such a class can be copied and pickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import nn


class Recipe:
    """A recipe for a subclass that overrides methods; recipes of a kind say in `__reduce__` what they consist of.

    Attributes:
        base: the class.
        made: the subclass, which has its name.
    """

    def __init__(self, base: type[nn.Module], methods: Mapping[str, Any]) -> None:
        self.base = base
        space = {**methods, "__reduce__": _reduce, "_evonas_recipe": self, "__doc__": base.__doc__}
        self.made = cast("type[nn.Module]", type(base.__name__, (base,), space))
        self.made.__module__ = base.__module__
        self.made.__qualname__ = base.__qualname__

    def __deepcopy__(self, memo: object) -> Recipe:
        return self


def _reduce(module: nn.Module) -> tuple[Any, ...]:
    return _blank, (cast("Any", module)._evonas_recipe,), vars(module)


def _blank(recipe: Recipe) -> nn.Module:
    return recipe.made.__new__(recipe.made)
