"""MobileNetV2 (Sandler et al. 2018): inverted residuals with linear bottlenecks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from evonas.workers.anchors.layers import Classifier, Conv, LayerFactory, scaled_width


@dataclass(frozen=True)
class Stage:
    """Consecutive inverted residuals: a row of the paper's table 2.

    Attributes:
        expansion: inner channels of a block over its input channels.
        width: output channels, before the width multiplier.
        blocks: how many.
        stride: of the first block's depthwise convolution; the others have 1.
    """

    expansion: int
    width: int
    blocks: int
    stride: int


@dataclass(frozen=True)
class MobileNetConfig:
    """A member of the family.

    Attributes:
        stages: from the highest resolution to the lowest.
        stem_width: channels of the first convolution, before the width multiplier.
        stem_stride: its stride.
        head_width: channels of the last 1×1 convolution; the multiplier widens it and never narrows it.
        width_multiplier: scales the other widths.
        divisor: widths are rounded to a multiple of this.
    """

    stages: tuple[Stage, ...]
    stem_width: int = 32
    stem_stride: int = 2
    head_width: int = 1280
    width_multiplier: float = 1.0
    divisor: int = 8


SMALL = MobileNetConfig(
    stages=(Stage(4, 16, 1, 1), Stage(4, 24, 1, 2)),
    stem_width=16,
    stem_stride=2,
    head_width=96,
)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project: a 1×1, a depthwise 3×3 and a linear 1×1 convolution.

    The expansion is left out where it would be by 1. The input is added to the output where both have the
    same shape.
    """

    def __init__(self, layer: LayerFactory, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        expand = [Conv(inputs, inner), layer.norm_act(inner)] if expansion != 1 else []
        depthwise = [Conv(inner, inner, 3, stride=stride, groups=inner), layer.norm_act(inner)]
        project = [Conv(inner, outputs), layer.norm(outputs)]
        self.path = nn.Sequential(*expand, *depthwise, *project)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(b, inputs, h, w) to (b, outputs, h / stride, w / stride), rounded up."""
        y: Tensor = self.path(x)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    """Stem, inverted residuals, a wide 1×1 convolution, and the classifier."""

    def __init__(self, config: MobileNetConfig, layer: LayerFactory, *, in_channels: int, classes: int) -> None:
        super().__init__()

        def width(channels: int) -> int:
            return scaled_width(channels, config.width_multiplier, config.divisor)

        channels = width(config.stem_width)
        self.stem = nn.Sequential(Conv(in_channels, channels, 3, stride=config.stem_stride), layer.norm_act(channels))
        blocks: list[nn.Module] = []
        for stage in config.stages:
            outputs = width(stage.width)
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(layer, channels, outputs, expansion=stage.expansion, stride=stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        head = scaled_width(config.head_width, max(1.0, config.width_multiplier), config.divisor)
        self.head = nn.Sequential(Conv(channels, head), layer.norm_act(head))
        self.classifier = Classifier(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, in_channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(x))))
        return logits
