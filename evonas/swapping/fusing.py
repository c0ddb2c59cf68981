"""Methods that fold BatchNorms into convolutions, such as `fuse` of ultralytics' models.

A layer cannot be folded: it would lose its activation. So these methods do not get to see layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from evonas.layers.norm_act import NormAct
from evonas.swapping.subclass import Recipe

_METHOD = "fuse"


class FusesTheRest(Recipe):
    """A recipe for a subclass whose `fuse` leaves layers alone, and does with everything else what it did."""

    def __init__(self, base: type[nn.Module]) -> None:
        original = getattr(base, _METHOD)

        def fuse(module: nn.Module, *arguments: Any, **named: Any) -> Any:
            with _hidden_layers(module):
                return original(module, *arguments, **named)

        super().__init__(base, {_METHOD: fuse})

    def __reduce__(self) -> tuple[Any, ...]:
        return FusesTheRest, (self.base,)


def leave_out_of_fusing(model: nn.Module) -> None:
    """Has every module of a model that contains layers and has a method `fuse` leave them out of it."""
    for module in list(model.modules()):
        fuses = callable(getattr(type(module), _METHOD, None))
        known = any(isinstance(vars(cls).get("_evonas_recipe"), FusesTheRest) for cls in type(module).__mro__)
        if fuses and not known and any(isinstance(m, NormAct) for m in module.modules()):
            module.__class__ = FusesTheRest(type(module)).made


@contextmanager
def _hidden_layers(module: nn.Module) -> Iterator[None]:
    """Takes layers out of a module for a while; whatever else changes meanwhile stays."""
    before = {parent: dict(parent._modules) for parent in module.modules()}
    held = {
        parent: {name: child for name, child in children.items() if isinstance(child, NormAct)}
        for parent, children in before.items()
    }
    for parent, layers in held.items():
        for name in layers:
            del parent._modules[name]
    try:
        yield
    finally:
        for parent, layers in held.items():
            if layers:  # in their old order
                now = {**parent._modules, **layers}
                order = [
                    *(name for name in before[parent] if name in now),
                    *(n for n in now if n not in before[parent]),
                ]
                parent._modules = {name: now[name] for name in order}
