"""The anchor networks: positions, shapes, initialisation, names."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from evonas.errors import UsageError
from evonas.workers.anchors import ANCHORS, anchor_named, build_anchor
from evonas.workers.anchors.layers import Conv, Dense, scaled_width


class BatchNormRelu:
    """The usual layer, which records the channels of every position."""

    def __init__(self) -> None:
        self.norm_acts: list[int] = []
        self.norms: list[int] = []

    def norm_act(self, channels: int) -> nn.Module:
        self.norm_acts.append(channels)
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())

    def norm(self, channels: int) -> nn.Module:
        self.norms.append(channels)
        return nn.BatchNorm2d(channels)

    def tokens(self, channels: int) -> nn.Module:
        self.norms.append(channels)
        return nn.LayerNorm(channels)


class RandomStart(BatchNormRelu):
    """Consumes random numbers for its own parameters."""

    def norm_act(self, channels: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, channels, 1), super().norm_act(channels))


POSITIONS = {
    "resnet-small": ([16, 8, 8, 32, 16, 16, 64, 16, 16, 64], []),
    "mobilenet-small": ([16, 64, 64, 64, 64, 96], [16, 24]),
    "efficientnet-small": ([16, 64, 64, 64, 64, 96], [16, 24]),
    "vgg-small": ([16, 32, 32, 64], []),
    "densenet-small": ([16, 32, 24, 32, 32, 16, 32, 24, 32, 32], []),
    "resnet-medium": ([16, 8, 8, 32, 16, 16, 64, 32, 32, 128, 32, 32, 128, 64, 64, 256], []),
    "mobilenet-medium": ([16, 16, 64, 64, 64, 64, 96, 96, 128, 128, 128, 128, 192], [16, 16, 24, 32, 32, 48]),
    "efficientnet-medium": ([16, 16, 64, 64, 64, 64, 96, 96, 128, 128, 128, 128, 192], [16, 16, 24, 32, 32, 48]),
    "vgg-medium": ([16, 32, 32, 64, 64], []),
    "densenet-medium": (
        [32, 32, 64, 48, 64, 64, 32, 64, 48, 64, 64, 64, 80, 64, 96, 48, 64, 64, 64, 80, 64, 96, 64, 112],
        [],
    ),
}
FULL = (
    "resnet50@0.25",
    "mobilenetv2@0.5",
    "efficientnet-b0@0.5",
    "vgg16@0.25",
    "densenet121@0.25",
)  # see test_anchors_published.py
TRANSFORMERS = (  # see test_transformer_anchors.py and test_text_transformers.py
    *("vit-small", "vit-tiny-16", "vit-small-16", "dit-small", "dit-small-2"),
    *("gpt-small", "gpt-deep", "gpt2", "encoder-small", "encoder-deep"),
)
NAMES = (*POSITIONS, *FULL)


def test_every_anchor_is_listed_here() -> None:
    assert {*(name.partition("@")[0] for name in NAMES), *TRANSFORMERS} == set(ANCHORS)
    families = {"resnet", "mobilenet", "efficientnet", "vgg", "densenet", "vit", "dit", "gpt", "encoder"}
    assert {row.family for row in ANCHORS.values()} == families
    assert all(row.note and row.name == name for name, row in ANCHORS.items())


@pytest.mark.parametrize("name", POSITIONS)
def test_positions_and_their_channels(name: str) -> None:
    layer = BatchNormRelu()
    model = build_anchor(name, layer, in_channels=1, classes=10)
    assert (layer.norm_acts, layer.norms) == POSITIONS[name]
    # Every module that was made is part of the network, and each is used exactly once.
    uses: Counter[nn.Module] = Counter()
    normalisations = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in normalisations:
        module.register_forward_hook(lambda module, inputs, output: uses.update([module]))
    model(torch.randn(2, 1, 12, 12))
    assert len(normalisations) == len(layer.norm_acts) + len(layer.norms)
    assert set(uses.values()) == {1} and len(uses) == len(normalisations)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(4, 1, 12, 12), (4, 3, 24, 24), (3, 2, 9, 15), (2, 1, 5, 5)])
def test_forward_and_backward(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = build_anchor(name, BatchNormRelu(), in_channels=shape[1], classes=7)
    logits = model(torch.randn(shape))
    assert logits.shape == (shape[0], 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_one_image_in_evaluation_mode(name: str) -> None:
    model = build_anchor(name, BatchNormRelu(), in_channels=1, classes=10).eval()
    images = torch.randn(3, 1, 12, 12)
    # float32 sums in another order: a few units in the last place of values of about 0.1.
    torch.testing.assert_close(model(images[:1]), model(images)[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_random_state_gives_the_same_weights_to_every_layer(name: str) -> None:
    models = []
    for layer in (BatchNormRelu(), RandomStart()):
        torch.manual_seed(5)
        models.append(build_anchor(name, layer, in_channels=1, classes=10))
    plain, other = ([m.weight for m in model.modules() if isinstance(m, Conv | Dense)] for model in models)
    assert len(plain) == len(other) and all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))
    assert torch.equal(models[0].classifier.linear.weight, models[1].classifier.linear.weight)
    fresh = build_anchor(name, BatchNormRelu(), in_channels=1, classes=10)
    assert not torch.equal(fresh.classifier.linear.weight, models[0].classifier.linear.weight)


@pytest.mark.parametrize("name", NAMES)
def test_convolutions_start_with_the_published_variance(name: str) -> None:
    model = build_anchor(name, BatchNormRelu(), in_channels=3, classes=10)
    convolutions = [module for module in model.modules() if isinstance(module, Conv)]
    assert len(convolutions) >= 4
    for module in convolutions:
        fan_out = module.out_channels * module.kernel_size[0] ** 2 / module.groups
        # The sample variance of n normal draws has a relative deviation of sqrt(2 / n); six of these never happen.
        ratio = module.weight.square().mean().item() * fan_out / 2
        assert abs(ratio - 1) < 6 * (2 / module.weight.numel()) ** 0.5


@pytest.mark.parametrize(
    ("channels", "multiplier", "expected"), [(32, 1.0, 32), (32, 0.5, 16), (24, 0.5, 16), (8, 0.1, 8)]
)
def test_scaled_width(channels: int, multiplier: float, expected: int) -> None:
    assert scaled_width(channels, multiplier) == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_width_multiplies_every_position(name: str) -> None:
    row, twice = anchor_named(name), BatchNormRelu()
    layer = BatchNormRelu()
    row.network(row.config, layer, in_channels=1, classes=10)
    wider = f"{name.partition('@')[0]}@{2 * row.config.width_multiplier}"
    build_anchor(wider, twice, in_channels=1, classes=10)
    assert len(twice.norm_acts) == len(layer.norm_acts) and len(twice.norms) == len(layer.norms)
    ratios = [b / a for a, b in zip(layer.norm_acts + layer.norms, twice.norm_acts + twice.norms, strict=True)]
    # Rounding to multiples of 8, and the head of MobileNetV2, which a multiplier below 1 leaves as it is.
    assert all(1 <= ratio <= 2.01 for ratio in ratios) and sum(ratio > 1.7 for ratio in ratios) > 0.7 * len(ratios)


@pytest.mark.parametrize("width", ["", "0", "-1", "nan", "inf", "1e9", "half", "0.5@2"])
def test_a_width_that_makes_no_sense_is_refused(width: str) -> None:
    with pytest.raises(UsageError, match="the width of an anchor must be above 0"):
        anchor_named(f"resnet50@{width}")


def test_an_unknown_anchor_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"resnet-tiny.*resnet-small"):
        build_anchor("resnet-tiny", BatchNormRelu(), in_channels=1, classes=10)
