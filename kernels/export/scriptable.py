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
    vars(layer)[_OWN] = {"groups": layer.groups, "momentum": layer.momentum}
    layer.groups, layer.momentum = layer._groups_used, layer.momentum or 0.0
    layer.__class__ = _class(layer.graph.to_json())
    return layer


def _itself_again(layer: Any) -> NormAct:
    layer.__class__ = NormAct
    vars(layer).update(vars(layer).pop(_OWN))
    return layer  # type: ignore[no-any-return]  # its class has just been set


def _call(layer: Any, *arguments: Any, **named: Any) -> Any:
    return _itself_again(layer)._call_impl(*arguments, **named)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _reduce(layer: Any, protocol: Any) -> Any:
    return _itself_again(layer).__reduce_ex__(protocol)


@lru_cache(maxsize=128)
def _class(graph: str) -> type[NormAct]:
    text = to_torch(Graph.from_json(graph))
    file = f"<layer {graph}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # where TorchScript reads it
    scope: dict[str, Any] = {"__name__": "evonas.layer"}
    exec(compile(text, file, "exec", dont_inherit=True), scope)  # source that evonas writes
    methods: type[nn.Module] = scope["Layer"]
    own = {"_call_impl": _call, "__reduce_ex__": _reduce, "__prepare_scriptable__": lambda layer: layer}
    return type("NormAct", (methods, NormAct), {**own, "__annotations__": methods.__annotations__})
