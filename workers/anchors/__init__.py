"""Anchors: the networks that a candidate layer is trained in, by name.

A good layer helps networks of different designs, so a candidate is scored in every anchor. Each row of
:data:`ANCHORS` is one configuration of a family. The architectures are in ``resnet.py``,
``inverted_residuals.py``, ``vgg.py``, ``densenet.py``, ``vit.py``, ``text_transformers.py`` and ``dit.py``, which do
not know these names.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from evonas.errors import UsageError, shorten, unknown
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.plugins import Registry, errors_in_file
from evonas.workers.anchors import densenet, dit, efficientnet, mobilenet, resnet, text_transformers, vgg, vit
from evonas.workers.anchors.goals import GOALS, Goal, goal_of
from evonas.workers.anchors.inverted_residuals import InvertedNet
from evonas.workers.anchors.layers import LayerBuilder, initialise
from evonas.workers.anchors.reparametrised import OPTIONS, reparametrise
from evonas.workers.anchors.transformer import Placement
from evonas.workers.anchors.user_network import CALL, build_user_network, logits_of

__all__ = [
    "ANCHORS",
    "ANCHOR_REGISTRY",
    "Anchor",
    "LayerBuilder",
    "anchor_named",
    "build_anchor",
    "check_runs",
    "check_user_anchor",
    "for_small_images",
    "logits_of",
    "own_row",
    "plain_name",
]


@dataclass(frozen=True)
class Anchor:
    """A named network with its normalisation-activation positions left open.

    Attributes:
        name: the name that users write, such as ``"resnet-small"``.
        family: the architecture that it is a configuration of.
        network: called as ``network(config, layer, in_channels=…, classes=…)``; returns the network with
            PyTorch's default weights. :func:`build_anchor` draws the published ones.
        config: the configuration within the family.
        note: a one-line description for listings.
        pixels: height and width of the images that it is made for.
        weights: how its weights are normalised, one of `evonas.workers.anchors.reparametrised.OPTIONS`; empty for not.
    """

    name: str
    family: str
    network: Callable[..., nn.Module] = field(repr=False)
    config: Any = field(repr=False)  # each family has a configuration of its own
    note: str
    pixels: int = 32
    weights: str = ""

    @property
    def reads(self) -> str:
        """What the network reads, "images" or "text"; empty for whatever there is, as of a user's that does not say."""
        found: str = getattr(self.network, "reads", "images")
        return found

    @property
    def causal(self) -> bool:
        """Whether it may have no layer that mixes positions."""
        return bool(getattr(self.network, "causal", False))

    @property
    def is_transformer(self) -> bool:
        """Whether it is made of the blocks of transformers, whose norms have no activation after them."""
        return isinstance(self.config, _TRANSFORMERS)

    @property
    def goal(self) -> Goal:
        """What the network is trained for, as far as that is known before it is built."""
        return GOALS.get(getattr(self.network, "goal", ""), GOALS["classes"])


def for_small_images(config: Any) -> Any:
    """Adapt a published configuration to 32×32 images: its first two convolutions of stride 2 get stride 1.

    This follows the appendix of Liu et al. 2020. All three families then reduce 32×32 to 4×4 before the
    classifier. ResNet's max pooling is not a convolution, so it stays.

    Args:
        config: the configuration of a ResNet or a network of inverted residuals, with a stem of stride 2.
    """
    first = next(place for place, stage in enumerate(config.stages) if stage.stride == 2)
    stages = [replace(s, stride=1) if place == first else s for place, s in enumerate(config.stages)]
    return replace(config, stem_stride=1, stages=tuple(stages))


_ROWS = (
    Anchor(
        "resnet-small",
        "resnet",
        resnet.ResNet,
        resnet.RESNET_SMALL,
        "pre-activation bottleneck ResNet, for images of about 12×12",
        16,
    ),
    Anchor(
        "mobilenet-small",
        "mobilenet",
        InvertedNet,
        mobilenet.MOBILENET_SMALL,
        "MobileNetV2 with inverted residuals, for images of about 12×12",
        16,
    ),
    Anchor(
        "efficientnet-small",
        "efficientnet",
        InvertedNet,
        efficientnet.EFFICIENTNET_SMALL,
        "EfficientNet with squeeze-and-excitation, for images of about 12×12",
        16,
    ),
    Anchor(
        "vgg-small", "vgg", vgg.VGG, vgg.VGG_SMALL, "plain network without shortcuts, for images of about 12×12", 16
    ),
    Anchor(
        "densenet-small",
        "densenet",
        densenet.DenseNet,
        densenet.DENSENET_SMALL,
        "DenseNet-BC, which concatenates, for images of about 12×12",
        16,
    ),
    Anchor(
        "resnet-medium", "resnet", resnet.ResNet, resnet.RESNET_MEDIUM, "as resnet-small, for images of 24×24 to 32×32"
    ),
    Anchor(
        "mobilenet-medium",
        "mobilenet",
        InvertedNet,
        mobilenet.MOBILENET_MEDIUM,
        "as mobilenet-small, for images of 24×24 to 32×32",
    ),
    Anchor(
        "efficientnet-medium",
        "efficientnet",
        InvertedNet,
        efficientnet.EFFICIENTNET_MEDIUM,
        "as efficientnet-small, for images of 24×24 to 32×32",
    ),
    Anchor("vgg-medium", "vgg", vgg.VGG, vgg.VGG_MEDIUM, "as vgg-small, for images of 24×24 to 32×32"),
    Anchor(
        "densenet-medium",
        "densenet",
        densenet.DenseNet,
        densenet.DENSENET_MEDIUM,
        "as densenet-small, for images of 24×24 to 32×32",
    ),
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
        for_small_images(mobilenet.MOBILENETV2),
        "MobileNetV2, for images of 32×32",
    ),
    Anchor(
        "efficientnet-b0",
        "efficientnet",
        InvertedNet,
        for_small_images(efficientnet.EFFICIENTNET_B0),
        "EfficientNet-B0, for images of 32×32",
    ),
    Anchor("vgg16", "vgg", vgg.VGG, vgg.VGG16, "plain 16-layer network without shortcuts, for images of 32×32"),
    Anchor(
        "densenet121",
        "densenet",
        densenet.DenseNet,
        replace(densenet.DENSENET121, stem_kernel=3, stem_stride=1),
        "DenseNet-121, for images of 32×32",
    ),
    Anchor("vit-small", "vit", vit.ViT, vit.VIT_SMALL, "vision transformer with patches of 4×4", 16),
    Anchor("vit-tiny-16", "vit", vit.ViT, vit.VIT_TINY_16, "ViT-Ti/16, for images of 224×224", 224),
    Anchor("vit-small-16", "vit", vit.ViT, vit.VIT_SMALL_16, "ViT-S/16, for images of 224×224", 224),
    Anchor("dit-small", "dit", dit.DiT, dit.DIT_SMALL, "diffusion transformer, which finds noise in images", 16),
    Anchor("dit-small-2", "dit", dit.DiT, dit.DIT_SMALL_2, "DiT-S/2, for latent images of 32×32"),
    *(
        Anchor(name, "gpt", text_transformers.GPT, config, note)
        for name, config, note in (
            ("gpt-small", text_transformers.GPT_SMALL, "causal language model on characters"),
            ("gpt-deep", text_transformers.GPT_DEEP, "as gpt-small, with twelve blocks"),
            ("gpt2", text_transformers.GPT2_SMALL, "GPT-2 of 124 M parameters"),
        )
    ),
    *(
        Anchor(name, "encoder", text_transformers.Encoder, config, note)
        for name, config, note in (
            ("encoder-small", text_transformers.ENCODER_SMALL, "encoder that foretells masked characters, post-norm"),
            ("encoder-deep", text_transformers.ENCODER_DEEP, "as encoder-small, with twelve blocks"),
        )
    ),
)
_TRANSFORMERS = (vit.ViTConfig, dit.DiTConfig, text_transformers.TextConfig)
"""The configurations that have blocks."""

ANCHORS: Mapping[str, Anchor] = MappingProxyType({row.name: row for row in _ROWS})
"""The anchors of evonas, by name."""


def _user_anchor(text: str, found: Any) -> Anchor | None:
    """Make an anchor of a user's object: an `Anchor`, or what `build_user_network` takes."""
    if isinstance(found, Anchor):
        return replace(found, name=text)
    if not callable(found):
        return None

    def network(_: None, layer: LayerBuilder, *, in_channels: int, classes: int) -> nn.Module:
        return build_user_network(text, found, layer, in_channels, classes)

    for name, otherwise in (("reads", ""), ("goal", ""), ("causal", False)):
        setattr(network, name, getattr(found, name, otherwise))
    return Anchor(text, text, network, None, "a user's network")


ANCHOR_REGISTRY = Registry(
    "anchor",
    ANCHORS,
    _user_anchor,
    f"a function {CALL}, that returns a network, or the class of one",
)
"""Finds an anchor by name, evonas's own or a user's."""


def check_user_anchor(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    """Build a user's anchor once, and run it on two images (2, channels, *size). Other anchors are not checked.

    Raises:
        UsageError: The anchor cannot be built or run, or its output is not (2, classes).
    """
    if anchor_named(name).config is None:
        check_runs(name, channels, size, classes)


def check_runs(name: str, channels: int, size: tuple[int, int], classes: int) -> None:
    """Build an anchor once, and run it on two images (2, channels, *size).

    Raises:
        UsageError: The anchor cannot be built or run, or its output is not (2, classes).
    """
    layer = LayerFactory.published("layernorm" if anchor_named(name).causal else "bn-relu")
    model = build_anchor(name, layer, in_channels=channels, classes=classes)
    path = getattr(sys.modules.get(type(model).__module__), "__file__", None) or name
    with errors_in_file(path):
        logits = logits_of(model(torch.zeros(2, channels, *size)), f"the anchor {name}")
    if goal_of(model) is GOALS["classes"] and logits.shape != (2, classes):
        shape = tuple(logits.shape)
        raise UsageError(f"the anchor {name} returns {shape} for two images instead of logits of shape (2, {classes})")


def anchor_named(text: str) -> Anchor:
    """Return the anchor that a text names: a key of :data:`ANCHORS` or a user's, optionally with a width multiplier.

    ``"resnet50@0.25"`` is ``resnet50`` with a quarter of the channels everywhere, by the rounding rule of
    the papers (:func:`evonas.workers.anchors.layers.scaled_width`). ``"vit-small:post"`` is a transformer with its
    norms in another place (:class:`evonas.workers.anchors.transformer.Placement`), ``"vit-small+qk"`` one that
    normalises queries and keys as well, and ``"vit-small:post+qk@2"`` all of these. ``"resnet-small+ws"`` normalises
    its weights (:data:`evonas.workers.anchors.reparametrised.OPTIONS`); that stands last before the width.

    Raises:
        UsageError: The name or the placement is unknown, or the width is not a number above 0 and at most 64.
    """
    plain, weights, at, width = _parts(text)
    name = f"{plain}+{weights}" if weights else plain
    row = _placed(plain) or ANCHOR_REGISTRY.find(plain)
    row = replace(row, name=name, weights=weights) if weights else row
    if not at:
        return row
    try:
        multiplier = float(width)
    except ValueError:
        multiplier = math.nan
    if not 0.0 < multiplier <= 64.0:  # a wider network would fit on no machine, so it is a mistake
        raise UsageError(
            f"the width of an anchor must be above 0 and at most 64, as in {name}@0.5, not {shorten(text)}"
        )
    if row.config is None:
        raise UsageError(f"the anchor {name} has a fixed width: leave out the @ and what follows it in {text}")
    if isinstance(row.config, _TRANSFORMERS):
        blocks = replace(row.config.blocks, width_multiplier=multiplier)
        return replace(row, name=text, config=replace(row.config, blocks=blocks))
    return replace(row, name=text, config=replace(row.config, width_multiplier=multiplier))


def plain_name(text: str) -> str:
    """Return the name of an anchor without its width and without what its weights are normalised by."""
    return _parts(text)[0]


def own_row(text: str) -> Anchor | None:
    """Return the row of `ANCHORS` that an anchor is made of, whatever else its name says; None for a user's network."""
    return ANCHORS.get(plain_name(text).partition("+qk")[0].partition(":")[0])


def _parts(text: str) -> tuple[str, str, str, str]:
    """The name of an anchor, one of `OPTIONS` or nothing, an @ or nothing, and what follows it."""
    name, at, width = text.partition("@")
    plain, plus, weights = name.rpartition("+")
    return (plain, weights, at, width) if plus and weights in OPTIONS else (name, "", at, width)


def _placed(text: str) -> Anchor | None:
    """A transformer whose name says where its norms stand; None for other names, which may have colons as well."""
    with_placement, qk, rest = text.partition("+qk")
    name, colon, placement = with_placement.partition(":")
    row = ANCHORS.get(name)
    if row is None or rest or not (colon or qk):
        return None
    if not isinstance(row.config, _TRANSFORMERS):
        raise UsageError(f"{shorten(text)}: only transformers say where norms stand; {name} is none")
    known = {one.value: one for one in Placement}
    if colon and placement not in known:
        raise unknown("placement", placement, known)
    place = known[placement] if colon else row.config.blocks.placement
    blocks = replace(row.config.blocks, placement=place, qk_norm=bool(qk))
    return replace(row, name=text, config=replace(row.config, blocks=blocks))


def build_anchor(name: str, layer: LayerBuilder, *, in_channels: int, classes: int) -> nn.Module:
    """Build an anchor with freshly initialised weights.

    The weights of the convolutions and of the classifier depend only on PyTorch's global random state at the
    call: two layers built from the same state start from the same network, even if one of them draws random
    numbers of its own.

    Args:
        name: a name as :func:`anchor_named` accepts it.
        layer: builds the module for every position that is searched.
        in_channels: channels of the images.
        classes: number of outputs.

    Returns:
        A module from images (b, in_channels, h, w) to what its goal (`evonas.workers.anchors.goals`) makes a loss of:
        logits (b, classes), or what `logits_of` takes, unless it has a goal of its own.

    Raises:
        UsageError: The name is unknown.
    """
    row = anchor_named(name)
    seed = int(torch.randint(2**62, ()).item())
    model = row.network(row.config, layer, in_channels=in_channels, classes=classes)
    initialise(model, torch.Generator().manual_seed(seed))
    if row.weights:
        reparametrise(model, row.weights)
    return model
