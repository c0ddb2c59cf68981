"""Anchors: the networks that a candidate layer is trained in, by name.

A layer is good when it helps networks of different designs, so a candidate is scored once in every
anchor. Each row of :data:`ANCHORS` is one configuration of a family; the architectures themselves are in
``resnet.py``, ``inverted.py`` and ``vgg.py`` and know nothing of names.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from evonas.errors import UsageError, shorten
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.plugins import Registry, speaking_of
from evonas.workers.anchors import efficientnet, mobilenet, resnet, vgg
from evonas.workers.anchors.inverted_residuals import InvertedNet
from evonas.workers.anchors.layers import LayerBuilder, initialise

__all__ = [
    "ANCHORS",
    "REGISTRY",
    "Anchor",
    "LayerBuilder",
    "anchor_named",
    "build_anchor",
    "check_own",
    "for_small_images",
]


@dataclass(frozen=True)
class Anchor:
    """A named network with its normalisation-activation positions left open.

    Attributes:
        name: what users write, ``"resnet-small"`` for example.
        family: the architecture that it is a configuration of.
        network: called as ``network(config, layer, in_channels=…, classes=…)``; returns the network with
            the weights that PyTorch draws by default. :func:`build_anchor` draws the published ones.
        config: which member of the family.
        note: one line on what the network is, for listings.
    """

    name: str
    family: str
    network: Callable[..., nn.Module] = field(repr=False)
    config: Any = field(repr=False)  # each family has a configuration of its own
    note: str


def for_small_images(config: Any) -> Any:
    """A published configuration for images of 32×32: its first two convolutions of stride 2 get stride 1.

    Liu et al. 2020, appendix. All three families then reduce 32×32 to 4×4 before the classifier; ResNet's
    max pooling, which is no convolution, stays.

    Args:
        config: of a ResNet or a network of inverted residuals, whose stem has stride 2.
    """
    first = next(place for place, stage in enumerate(config.stages) if stage.stride == 2)
    stages = [replace(s, stride=1) if place == first else s for place, s in enumerate(config.stages)]
    return replace(config, stem_stride=1, stages=tuple(stages))


_ROWS = (
    Anchor(
        "resnet-small",
        "resnet",
        resnet.ResNet,
        resnet.SMALL,
        "pre-activation bottleneck ResNet, for images of about 12×12",
    ),
    Anchor(
        "mobilenet-small",
        "mobilenet",
        InvertedNet,
        mobilenet.SMALL,
        "MobileNetV2 with inverted residuals, for images of about 12×12",
    ),
    Anchor(
        "efficientnet-small",
        "efficientnet",
        InvertedNet,
        efficientnet.SMALL,
        "EfficientNet with squeeze-and-excitation, for images of about 12×12",
    ),
    Anchor("vgg-small", "vgg", vgg.Vgg, vgg.SMALL, "plain network without shortcuts, for images of about 12×12"),
    Anchor(
        "resnet50",
        "resnet",
        resnet.ResNet,
        for_small_images(resnet.RESNET50),
        "pre-activation ResNet-50, for images of 32×32",
    ),
    Anchor(
        "mobilenetv2",
        "mobilenet",
        InvertedNet,
        for_small_images(mobilenet.PUBLISHED),
        "MobileNetV2, for images of 32×32",
    ),
    Anchor(
        "efficientnet-b0",
        "efficientnet",
        InvertedNet,
        for_small_images(efficientnet.B0),
        "EfficientNet-B0, for images of 32×32",
    ),
    Anchor("vgg16", "vgg", vgg.Vgg, vgg.VGG16, "plain 16-layer network without shortcuts, for images of 32×32"),
)

ANCHORS: Mapping[str, Anchor] = MappingProxyType({row.name: row for row in _ROWS})


def _own(text: str, found: Any) -> Anchor | None:
    """A user's anchor: a row, or a function (layer, *, in_channels, classes) that returns a network."""
    if isinstance(found, Anchor):
        return replace(found, name=text)
    if not callable(found):
        return None

    def network(_: None, layer: LayerBuilder, *, in_channels: int, classes: int) -> nn.Module:
        path = getattr(sys.modules.get(found.__module__), "__file__", None) or text
        with speaking_of(path):
            model = found(layer, in_channels=in_channels, classes=classes)
        if not isinstance(model, nn.Module):
            raise UsageError(f"the anchor {text} is {shorten(model)}, not a torch.nn.Module")
        return model

    return Anchor(text, text, network, None, "a network of the user's own")


REGISTRY = Registry(
    "anchor", ANCHORS, _own, "a function (layer, *, in_channels, classes) that returns a network, or the class of one"
)


def check_own(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    """Builds a user's anchor once and runs it on two images of this size.

    Raises:
        UsageError: it cannot be built or run, or its output is not (2, classes).
    """
    row = anchor_named(name)
    if row.config is not None:
        return
    layer = LayerFactory.published("bn-relu")
    model = build_anchor(name, layer, in_channels=channels, classes=classes)
    path = getattr(sys.modules.get(type(model).__module__), "__file__", None) or name
    with speaking_of(path):
        logits = model(torch.zeros(2, channels, *size))
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else shorten(logits)
        raise UsageError(f"the anchor {name} turns two images into {shape} rather than logits of shape (2, {classes})")


def anchor_named(text: str) -> Anchor:
    """The anchor that a text names: a key of :data:`ANCHORS` or a user's, with ``@`` and a width multiplier if wanted.

    ``"resnet50@0.25"`` is ``resnet50`` with a quarter of the channels everywhere, by the rounding rule of
    the papers (:func:`evonas.workers.anchors.layers.scaled_width`).

    Raises:
        UsageError: the name is unknown, or the width is no positive number.
    """
    name, at, width = text.partition("@")
    row = REGISTRY.find(name)
    if not at:
        return row
    try:
        multiplier = float(width)
    except ValueError:
        multiplier = math.nan
    if not 0.0 < multiplier <= 64.0:  # nobody means a network that fits on no machine
        raise UsageError(f"an anchor's width is a number above 0 and at most 64, as in {name}@0.5, not {shorten(text)}")
    if row.config is None:
        raise UsageError(f"the anchor {name} has one width: leave out what follows the @ in {text}")
    return replace(row, name=text, config=replace(row.config, width_multiplier=multiplier))


def build_anchor(name: str, layer: LayerBuilder, *, in_channels: int, classes: int) -> nn.Module:
    """Build an anchor with freshly initialised weights.

    The weights of the convolutions and of the classifier depend on PyTorch's global random state at the
    call and on nothing else: two layers built from the same state start from the same network, even when
    one of them draws random numbers of its own.

    Args:
        name: what :func:`anchor_named` takes.
        layer: makes the module for every position that is searched.
        in_channels: channels of the images.
        classes: number of outputs.

    Returns:
        A module from images (b, in_channels, h, w) to logits (b, classes).

    Raises:
        UsageError: the name is unknown.
    """
    row = anchor_named(name)
    seed = int(torch.randint(2**62, ()).item())
    model = row.network(row.config, layer, in_channels=in_channels, classes=classes)
    initialise(model, torch.Generator().manual_seed(seed))
    return model
