"""Registers kernels with the layers, which do not import kernels themselves (`evonas.layers.backend`)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from evonas.kernels.add_norm import add_norm
from evonas.kernels.compiled_layer import KernelChoice, Settings
from evonas.kernels.cpp.build import compiler, trouble
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.torch_function import norm_act
from evonas.layers.backend import AddingCall, Call, KernelProvider, register

if TYPE_CHECKING:
    from torch import nn

    from evonas.language.graph import Graph


def _bind(backend: str, graph: str, training: bool, groups: int, eps: float, momentum: float) -> Call:
    return partial(norm_act, choice=KernelChoice(backend, graph, training, Settings(groups, eps, momentum)))


def _bind_adding(backend: str, graph: str, groups: int, eps: float) -> AddingCall:
    return partial(add_norm, choice=KernelChoice(backend, graph, True, Settings(groups, eps, 0.0)))


def _build_calls() -> object:
    # Only training needs it, so it is imported when it is called.
    from evonas.kernels.cpp.calls import build_calls

    return build_calls()


def _scriptable(layer: nn.Module) -> nn.Module:
    from evonas.kernels.export.scriptable import scriptable

    return scriptable(layer)


def _backends(graph: Graph) -> frozenset[str]:
    return _KERNELS if kinds_of(graph) else frozenset()


def _rows(graph: Graph) -> frozenset[str]:
    return _KERNELS if PlanKind.ROWS in kinds_of(graph) else frozenset()


_KERNELS = frozenset(["cpp", "triton"])


def _takes_rows(graph: Graph) -> bool:
    return PlanKind.PLANES not in kinds_of(graph)


register(
    KernelProvider(_bind, _bind_adding, _backends, _rows, _takes_rows, trouble, compiler, _build_calls, _scriptable)
)
