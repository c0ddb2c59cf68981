"""`norm_layer`: a layer with the interface that constructors of model libraries expect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

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

    The networks of timm call a norm-activation layer like this. Those of torchvision call it with ``num_features``
    alone and put an activation of their own after it, unless an argument such as ``activation_layer=None`` prevents it;
    where there is no such argument, use `evonas.swap` on the network. Its report also names the layers of a network
    that an activation follows.

    Args:
        layer: a graph, a published name or an expression.
        linear: the layer where ``apply_act`` is false; None for the one that the publication uses there, or the affine
            alone for a layer that is not published.
        groups: as in `NormAct`.
        settings: further arguments of `NormAct`: eps, momentum, affine, backend, device, dtype. A call may replace
            them. It may also pass arguments that a layer does not have, such as ``act_layer`` and ``inplace``, which
            are ignored because the layer has its own activation.

    Returns:
        A `functools.partial` of a function, which can be copied and pickled.

    Raises:
        UsageError: when a layer cannot be read, or a setting is unknown or out of range.
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
    drop_layer: object = None,
    **settings: Any,
) -> nn.Module:
    """One layer, as `norm_layer` describes it.

    Args:
        num_features: the number of channels.
        apply_act: whether the layer is one with an activation.
        act_layer: ignored.
        graph: the layer with an activation.
        linear: the layer without one.
        drop_layer: must be None.
        settings: arguments of `NormAct`; others are ignored.

    Raises:
        UsageError: for a ``drop_layer``, which would stand between normalisation and activation.
    """
    if drop_layer is not None:
        raise UsageError(
            "a layer that normalises and activates in one step has no place for drop_layer; put it before or after"
        )
    own = {name: value for name, value in settings.items() if name in {"groups", *_SETTINGS}}
    return NormAct(graph if apply_act else linear, num_features, **own)
