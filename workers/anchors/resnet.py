"""Pre-activation ResNet with bottleneck blocks (He et al. 2016, "Identity Mappings in Deep Residual Networks")."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from evonas.workers.anchors.layers import Classifier, Conv, LayerBuilder, scaled_width


@dataclass(frozen=True)
class ResNetStage:
    """Consecutive blocks at one resolution.

    Attributes:
        blocks: number of blocks.
        width: channels inside the bottleneck, before the width multiplier.
        stride: stride of the first block's 3×3 convolution; the others have stride 1.
    """

    blocks: int
    width: int
    stride: int


@dataclass(frozen=True)
class ResNetConfig:
    """The configuration of a ResNet.

    Attributes:
        stages: from the highest resolution to the lowest.
        stem_width: channels of the first convolution, before the width multiplier.
        stem_kernel: its kernel size.
        stem_stride: its stride.
        stem_pool: whether a 3×3 max pooling of stride 2 follows it.
        expansion: ratio of a block's output channels to its inner width.
        width_multiplier: scales every width.
        divisor: widths are rounded to a multiple of this.
    """

    stages: tuple[ResNetStage, ...]
    stem_width: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    expansion: int = 4
    width_multiplier: float = 1.0
    divisor: int = 8


RESNET50 = ResNetConfig(
    stages=(ResNetStage(3, 64, 1), ResNetStage(4, 128, 2), ResNetStage(6, 256, 2), ResNetStage(3, 512, 2))
)
"""He et al. 2016, "Deep Residual Learning", table 1, with the pre-activation blocks of the later paper."""

# On a CPU, a convolution this small costs about a millisecond forward and backward, mostly for the call, and an eager
# layer costs its memory traffic. So there are few convolutions, and the stem reduces a 12×12 image to 6×6.
RESNET_SMALL = ResNetConfig(
    stages=(ResNetStage(1, 8, 1), ResNetStage(2, 16, 2)),
    stem_width=16,
    stem_kernel=3,
    stem_stride=2,
    stem_pool=False,
)

RESNET_MEDIUM = ResNetConfig(
    stages=(ResNetStage(1, 8, 1), ResNetStage(1, 16, 2), ResNetStage(2, 32, 2), ResNetStage(1, 64, 1)),
    stem_width=16,
    stem_kernel=3,
    stem_stride=1,
)
"""A third of the blocks of ResNet-50, and an eighth of its width."""


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, each after a norm-act, around a shortcut.

    If the shape changes, the shortcut is a 1×1 convolution of the first norm-act's output; otherwise it is the
    block's input.
    """

    def __init__(self, layer: LayerBuilder, inputs: int, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm_act1 = layer.norm_act(inputs)
        self.conv1 = Conv(inputs, width)
        self.norm_act2 = layer.norm_act(width)
        self.conv2 = Conv(width, width, 3, stride=stride)
        self.norm_act3 = layer.norm_act(width)
        self.conv3 = Conv(width, outputs)
        keeps_shape = stride == 1 and inputs == outputs
        self.shortcut = None if keeps_shape else Conv(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h / stride, w / stride), rounded up."""
        y = self.norm_act1(x)
        shortcut = x if self.shortcut is None else self.shortcut(y)
        y = self.conv2(self.norm_act2(self.conv1(y)))
        y = self.conv3(self.norm_act3(y))
        total: Tensor = y + shortcut
        return total


class ResNet(nn.Module):
    """Stem, bottleneck stages, a last norm-act, and the classifier.

    Every position of the layer is a norm-act: a pre-activation network has no normalisation without activation.
    """

    def __init__(self, config: ResNetConfig, layer: LayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()

        def width(channels: int) -> int:
            return scaled_width(channels, config.width_multiplier, config.divisor)

        channels = width(config.stem_width)
        self.stem = Conv(in_channels, channels, config.stem_kernel, stride=config.stem_stride)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if config.stem_pool else nn.Identity()
        blocks: list[nn.Module] = []
        for stage in config.stages:
            outputs = width(stage.width) * config.expansion
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(Bottleneck(layer, channels, width(stage.width), outputs, stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.norm_act = layer.norm_act(channels)
        self.classifier = Classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w) to logits (b, classes)."""
        y = self.blocks(self.pool(self.stem(x)))
        logits: Tensor = self.classifier(self.norm_act(y))
        return logits
