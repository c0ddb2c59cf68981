"""`norm_layer`: a layer in the shape that constructors of model libraries ask for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from evonas.errors import UsageError, shorten
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct


def norm_layer(
    layer: Graph | str, *, linear: Graph | str | None = None, groups: int = 32, **settings: Any
) -> Callable[..., nn.Module]:
    """A factory of a layer, called as ``factory(num_features, apply_act=True, act_layer=None, **kwargs)``.

    That is what the networks of timm ask of a norm-activation layer; those of torchvision call it with
    ``num_features`` alone, and with an activation of their own after it unless they are told otherwise, such as by
    ``activation_layer=None``; where they cannot be told, use `evonas.swap` on the network.

    Args:
        layer: a graph, a published name or an expression.
        linear: the layer where ``apply_act`` is false; None for what the publication puts there, the affine alone
            for anything that is not published.
        groups: as in `NormAct`.
        settings: further arguments of `NormAct`: eps, momentum, affine, backend, device, dtype. A call may
            replace them; arguments of a call that a layer does not know, such as ``act_layer`` and ``inplace``, are
            left aside, since it brings its own activation.

    Returns:
        A `functools.partial` of a function, which can be copied and pickled.

    Raises:
        UsageError: a layer cannot be read, or a setting makes no sense.
    """
    placed = LayerFactory.of(layer)
    without = placed.linear if linear is None else as_graph(linear)
    surplus = set(settings) - _SETTINGS
    if surplus:
        raise UsageError(f"a layer has no setting {shorten(min(surplus))}; known: {', '.join(sorted(_SETTINGS))}")
    factory = functools.partial(norm_act_layer, graph=placed.graph, linear=without, groups=groups, **settings)
    factory(num_features=1)  # raises for a setting out of range
    return factory


_SETTINGS = {"eps", "momentum", "affine", "backend", "device", "dtype"}


def norm_act_layer(
    num_features: int,
    apply_act: bool = True,
    act_layer: object = None,
    *,
    graph: Graph,
    linear: Graph,
    groups: int = 32,
    eps: float = 1e-5,
    momentum: float = 0.1,
    affine: bool = True,
    backend: str = "auto",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    drop_layer: object = None,
    **others: object,
) -> nn.Module:
    """One layer, as `norm_layer` describes it.

    Raises:
        UsageError: for a ``drop_layer``, which would stand between normalisation and activation.
    """
    if drop_layer is not None:
        raise UsageError("a layer that normalises and activates in one has no place for drop_layer; put it elsewhere")
    return NormAct(
        graph if apply_act else linear,
        num_features,
        groups,
        eps,
        momentum,
        affine,
        backend=backend,
        device=device,
        dtype=dtype,
    )
