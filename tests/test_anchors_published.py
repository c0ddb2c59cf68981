"""The full-size anchors against the published architectures: parameters, positions, widths, resolutions.

The lists are written out from the papers' tables, not computed.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evonas.workers.anchors import ANCHORS, anchor_named, build_anchor, densenet, efficientnet, mobilenet, resnet, vgg
from evonas.workers.anchors.inverted_residuals import InvertedNet
from tests.test_anchors import BatchNormRelu

# Each bottleneck: the norm-acts before its 1×1, 3×3 and 1×1 convolutions.
RESNET50 = (
    [64, 64, 64] + 2 * [256, 64, 64]
    + [256, 128, 128] + 3 * [512, 128, 128]
    + [512, 256, 256] + 5 * [1024, 256, 256]
    + [1024, 512, 512] + 2 * [2048, 512, 512]
    + [2048]
)  # fmt: skip
# Each inverted residual: after the expansion and after the depthwise convolution; and after the projection.
MOBILENETV2 = (
    [32, 32]
    + [96, 96] + [144, 144]
    + [144, 144] + 2 * [192, 192]
    + [192, 192] + 3 * [384, 384]
    + [384, 384] + 2 * [576, 576]
    + [576, 576] + 2 * [960, 960]
    + [960, 960]
    + [1280]
)  # fmt: skip
MOBILENETV2_LINEAR = [16] + 2 * [24] + 3 * [32] + 4 * [64] + 3 * [96] + 3 * [160] + [320]
EFFICIENTNET_B0 = (
    [32, 32]
    + [96, 96] + [144, 144]
    + [144, 144] + [240, 240]
    + [240, 240] + 2 * [480, 480]
    + [480, 480] + 2 * [672, 672]
    + [672, 672] + 3 * [1152, 1152]
    + [1152, 1152]
    + [1280]
)  # fmt: skip
EFFICIENTNET_B0_LINEAR = [16] + 2 * [24] + 2 * [40] + 3 * [80] + 3 * [112] + 4 * [192] + [320]
VGG16 = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
# Each dense layer of growth 32 adds to the channels, and has a norm-act of 128 in its middle; a transition halves them.
DENSENET121 = (
    [64]
    + [channels for i in range(6) for channels in (64 + 32 * i, 128)] + [256]
    + [channels for i in range(12) for channels in (128 + 32 * i, 128)] + [512]
    + [channels for i in range(24) for channels in (256 + 32 * i, 128)] + [1024]
    + [channels for i in range(16) for channels in (512 + 32 * i, 128)] + [1024]
)  # fmt: skip

PUBLISHED = [
    # 25.5 M. The 53 convolutions and the classifier of ResNet-50 have 25,503,912; pre-activation has a
    # normalisation before each convolution of a block and one at the end, 45,440, in place of 53,120.
    ("resnet50", resnet.ResNet, resnet.RESNET50, RESNET50, [], 25_549_352),
    ("mobilenetv2", InvertedNet, mobilenet.MOBILENETV2, MOBILENETV2, MOBILENETV2_LINEAR, 3_504_872),
    ("efficientnet-b0", InvertedNet, efficientnet.EFFICIENTNET_B0, EFFICIENTNET_B0, EFFICIENTNET_B0_LINEAR, 5_288_548),
    # 138 M less the head of 123.6 M and the biases of convolutions, 4,224; with normalisations, 8,448, and
    # one classifier, 513,000.
    ("vgg16", vgg.VGG, vgg.VGG16, VGG16, [], 14_710_464 + 8_448 + 513_000),
    ("densenet121", densenet.DenseNet, densenet.DENSENET121, DENSENET121, [], 7_978_856),
]


@pytest.mark.parametrize(("name", "network", "config", "norm_acts", "norms", "parameters"), PUBLISHED)
def test_parameters_and_positions_at_width_1(
    name: str, network: type[nn.Module], config: object, norm_acts: list[int], norms: list[int], parameters: int
) -> None:
    layer = BatchNormRelu()
    model = network(config, layer, in_channels=3, classes=1000)
    assert (layer.norm_acts, layer.norms) == (norm_acts, norms)
    assert sum(p.numel() for p in model.parameters()) == parameters
    # For small images strides change, and neither positions nor parameters do.
    adapted = BatchNormRelu()
    build_anchor(name, adapted, in_channels=3, classes=1000)
    assert (adapted.norm_acts, adapted.norms) == (norm_acts, norms)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(("name", "network", "config"), [row[:3] for row in PUBLISHED[:3]])
def test_the_first_two_strides_are_gone(name: str, network: type[nn.Module], config: object) -> None:
    published = network(config, BatchNormRelu(), in_channels=3, classes=10)
    adapted = build_anchor(name, BatchNormRelu(), in_channels=3, classes=10)
    before, after = ([m.stride for m in convolutions(model)] for model in (published, adapted))
    at = [place for place, stride in enumerate(before) if stride == (2, 2)]
    if name == "resnet50":
        # A block's 3×3 convolution has the stride, and so has the 1×1 of its shortcut, which must follow.
        assert [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == at[:3]
    else:
        assert [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == at[:2]


@pytest.mark.parametrize("name", ["resnet50@0.25", "mobilenetv2@0.5", "efficientnet-b0@0.5"])
@pytest.mark.parametrize(("size", "last"), [(32, 4), (24, 3)])
def test_feature_maps_keep_some_size(name: str, size: int, last: int) -> None:
    model = build_anchor(name, BatchNormRelu(), in_channels=3, classes=10).eval()
    seen: list[torch.Size] = []
    model.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        assert model(torch.randn(2, 3, size, size)).shape == (2, 10)
    assert seen[0][2:] == (last, last)


# scaled_width's rule: to the nearest multiple of 8, at least 8, and up where that takes more than a tenth.
NARROW = {
    "resnet50@0.25": {16, 64, 32, 128, 256, 512},
    "mobilenetv2@0.5": {16, 8, 48, 96, 192, 288, 480, 1280, 32, 80, 160},
    "efficientnet-b0@0.5": {16, 8, 48, 96, 144, 240, 336, 576, 640, 24, 40, 56, 160},
}


@pytest.mark.parametrize("name", NARROW)
def test_widths_of_the_paper_s_anchors(name: str) -> None:
    layer = BatchNormRelu()
    build_anchor(name, layer, in_channels=3, classes=10)
    assert set(layer.norm_acts + layer.norms) == NARROW[name]


def test_kernels_of_efficientnet_are_the_published_ones() -> None:
    model = build_anchor("efficientnet-b0", BatchNormRelu(), in_channels=3, classes=10)
    kernels = [m.kernel_size[0] for m in convolutions(model) if m.groups > 1]
    assert kernels == [3] + 2 * [3] + 2 * [5] + 3 * [3] + 3 * [5] + 4 * [5] + [3]
    assert anchor_named("efficientnet-b0").config.stem_stride == 1
    assert ANCHORS["efficientnet-b0"].name == "efficientnet-b0"
