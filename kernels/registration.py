"""Registers kernels with the layers, which do not import kernels themselves (`evonas.layers.backend`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from evonas.kernels.compiled_layer import KernelChoice, Settings
from evonas.kernels.cpp.build import compiler, trouble
from evonas.kernels.torch_function import norm_act
from evonas.layers.backend import Call, KernelProvider, register

if TYPE_CHECKING:
    from torch import nn


def _bind(backend: str, graph: str, training: bool, groups: int, eps: float, momentum: float) -> Call:
    return partial(norm_act, choice=KernelChoice(backend, graph, training, Settings(groups, eps, momentum)))


def _build_calls() -> object:
    # Only training needs it, so it is imported when it is called.
    from evonas.kernels.cpp.calls import build_calls

    return build_calls()


def _scriptable(layer: nn.Module) -> nn.Module:
    from evonas.kernels.export.scriptable import scriptable

    return scriptable(layer)


register(KernelProvider(_bind, trouble, compiler, _build_calls, _scriptable))
