"""A layer in the form that TorchScript compiles: with the methods of the class that an exported file has.

`torch.jit.script` compiles the source of methods, and to those of `NormAct` a graph is data. So a layer that is to be
scripted becomes one of another class, in place, and is a `NormAct` again from its next call on.
"""

from __future__ import annotations

import linecache
from functools import lru_cache
from typing import Any

from torch import nn

from evonas.errors import UsageError
from evonas.kernels.export.torch_source import to_torch
from evonas.language.graph import Graph
from evonas.layers.add_norm import AddNorm
from evonas.layers.norm_act import NormAct

_OWN = "_before_script"


def scriptable(layer: nn.Module) -> nn.Module:
    """The layer, a `NormAct`, made ready for `torch.jit.script`, which asks for it by `__prepare_scriptable__`.

    Raises:
        UsageError: for a layer in training whose running values are plain averages, which the class does not have.
    """
    assert isinstance(layer, NormAct)
    if layer.momentum is None and layer.training:
        raise UsageError("a layer without momentum cannot be scripted in training: call eval(), or set its momentum")
    own = {"groups": layer.groups, "momentum": layer.momentum}
    vars(layer)[_OWN] = (type(layer), own)
    layer.groups, layer.momentum = layer._groups_used, layer.momentum or 0.0
    layer.__class__ = _class(layer.graph.to_json(), isinstance(layer, AddNorm))
    return layer


def _itself_again(layer: Any) -> NormAct:
    layer.__class__, own = vars(layer).pop(_OWN)
    vars(layer).update(own)
    return layer  # type: ignore[no-any-return]  # its class has just been set


def _call(layer: Any, *arguments: Any, **named: Any) -> Any:
    return _itself_again(layer)._call_impl(*arguments, **named)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _reduce(layer: Any, protocol: Any) -> Any:
    return _itself_again(layer).__reduce_ex__(protocol)


_FORWARD = "    def forward(self, x: Tensor) -> Tensor:"
_OF_SUM = """    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        r = x + residual
        return self.of_one(r), r

    def of_one(self, x: Tensor) -> Tensor:"""
"""What stands in the place of the first line of a forward where a layer adds a residual."""


@lru_cache(maxsize=128)
def _class(graph: str, adds: bool) -> type[NormAct]:
    text = to_torch(Graph.from_json(graph))
    text = text.replace(_FORWARD, _OF_SUM, 1) if adds else text
    file = f"<layer {graph}{' of a sum' * adds}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # where TorchScript reads it
    scope: dict[str, Any] = {"__name__": "evonas.layer"}
    exec(compile(text, file, "exec", dont_inherit=True), scope)  # source that evonas writes
    methods: type[nn.Module] = scope["Layer"]
    own = {"_call_impl": _call, "__reduce_ex__": _reduce, "__prepare_scriptable__": lambda layer: layer}
    return type("NormAct", (methods, NormAct), {**own, "__annotations__": methods.__annotations__})
