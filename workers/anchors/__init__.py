"""Anchors: the networks that a candidate layer is trained in, by name.

A layer is good when it helps networks of different designs, so a candidate is scored once in every
anchor. Each row of :data:`ANCHORS` is one configuration of a family: the architectures themselves are in
``resnet.py``, ``mobilenet.py`` and ``efficientnet.py`` and know nothing of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from evonas.errors import unknown
from evonas.workers.anchors import efficientnet, mobilenet, resnet
from evonas.workers.anchors.layers import LayerFactory, initialise

__all__ = ["ANCHORS", "Anchor", "LayerFactory", "build_anchor"]


@dataclass(frozen=True)
class Anchor:
    """A named network with its normalisation-activation positions left open.

    Attributes:
        name: what users write, ``"resnet-small"`` for example.
        family: the architecture that it is a configuration of.
        build: called as ``build(layer, in_channels=…, classes=…)``; returns the network with the weights
            that PyTorch draws by default. :func:`build_anchor` draws the published initialisation.
        note: one line on what the network is, for listings.
    """

    name: str
    family: str
    build: Callable[..., nn.Module] = field(repr=False)
    note: str


_ROWS = (
    Anchor(
        "resnet-small",
        "resnet",
        partial(resnet.ResNet, resnet.SMALL),
        "pre-activation bottleneck ResNet, for images of about 12×12",
    ),
    Anchor(
        "mobilenet-small",
        "mobilenet",
        partial(mobilenet.MobileNet, mobilenet.SMALL),
        "MobileNetV2 with inverted residuals, for images of about 12×12",
    ),
    Anchor(
        "efficientnet-small",
        "efficientnet",
        partial(efficientnet.EfficientNet, efficientnet.SMALL),
        "EfficientNet with squeeze-and-excitation, for images of about 12×12",
    ),
)

ANCHORS: Mapping[str, Anchor] = MappingProxyType({row.name: row for row in _ROWS})


def build_anchor(name: str, layer: LayerFactory, *, in_channels: int, classes: int) -> nn.Module:
    """Build an anchor with freshly initialised weights.

    The weights of the convolutions and of the classifier depend on PyTorch's global random state at the
    call and on nothing else: two layers built from the same state start from the same network, even when
    one of them draws random numbers of its own.

    Args:
        name: a key of :data:`ANCHORS`.
        layer: makes the module for every position that is searched.
        in_channels: channels of the images.
        classes: number of outputs.

    Returns:
        A module from images (b, in_channels, h, w) to logits (b, classes).

    Raises:
        UsageError: the name is unknown.
    """
    if name not in ANCHORS:
        raise unknown("anchor", name, ANCHORS)
    seed = int(torch.randint(2**62, ()).item())
    model = ANCHORS[name].build(layer, in_channels=in_channels, classes=classes)
    initialise(model, torch.Generator().manual_seed(seed))
    return model
