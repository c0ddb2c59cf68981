"""DenseNet-BC, with bottlenecks and compression (Huang et al. 2017, "Densely Connected Convolutional Networks").

Its layers see the concatenation of all earlier ones, whose channels differ in scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.workers.anchors.layers import Classifier, Conv, LayerBuilder, scaled_width


@dataclass(frozen=True)
class DenseNetConfig:
    """The configuration of a DenseNet.

    Attributes:
        blocks: number of dense layers in each block, from the highest resolution to the lowest.
        growth: channels that each dense layer adds, before the width multiplier.
        stem_width: channels of the first convolution, before the width multiplier.
        stem_kernel: its kernel size.
        stem_stride: its stride.
        stem_pool: whether a norm-act and a 3×3 max pooling of stride 2 follow it.
        expansion: ratio of a dense layer's inner channels to its growth.
        compression: share of the channels that a transition keeps.
        width_multiplier: scales every width.
        divisor: widths are rounded to a multiple of this.
    """

    blocks: tuple[int, ...]
    growth: int = 32
    stem_width: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True
    expansion: int = 4
    compression: float = 0.5
    width_multiplier: float = 1.0
    divisor: int = 8


DENSENET121 = DenseNetConfig((6, 12, 24, 16))
"""Table 1 of the paper."""

DENSENET_SMALL = DenseNetConfig((2, 2), growth=8, stem_width=16, stem_kernel=3, stem_stride=2, stem_pool=False)
DENSENET_MEDIUM = DenseNetConfig((2, 4, 4), growth=16, stem_width=32, stem_kernel=3, stem_stride=1)
"""A sixth of the layers of DenseNet-121 in all but its last block, and half of its width."""


class DenseLayer(nn.Module):
    """A 1×1 and a 3×3 convolution, each after a norm-act; the result is appended to the input's channels."""

    def __init__(self, layer: LayerBuilder, inputs: int, growth: int, expansion: int) -> None:
        super().__init__()
        inner = growth * expansion
        self.path = nn.Sequential(
            layer.norm_act(inputs), Conv(inputs, inner), layer.norm_act(inner), Conv(inner, growth, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, inputs + growth, h, w)."""
        return torch.cat([x, self.path(x)], 1)


class DenseNet(nn.Module):
    """Stem, dense blocks with transitions between, a last norm-act, and the classifier.

    A transition is a norm-act, a 1×1 convolution and a 2×2 average pooling. Every position of the layer is a norm-act.
    """

    def __init__(self, config: DenseNetConfig, layer: LayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()

        def width(channels: float) -> int:
            return scaled_width(int(channels), config.width_multiplier, config.divisor)

        channels, growth = width(config.stem_width), width(config.growth)
        blocks: list[nn.Module] = [Conv(in_channels, channels, config.stem_kernel, stride=config.stem_stride)]
        if config.stem_pool:
            blocks += [layer.norm_act(channels), nn.MaxPool2d(3, 2, padding=1)]
        for number, layers in enumerate(config.blocks):
            if number > 0:
                outputs = max(1, int(channels * config.compression))
                # Rounded up, so that an image too small for all poolings keeps a pixel.
                pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
                blocks += [layer.norm_act(channels), Conv(channels, outputs), pool]
                channels = outputs
            for _ in range(layers):
                blocks.append(DenseLayer(layer, channels, growth, config.expansion))
                channels += growth
        self.blocks = nn.Sequential(*blocks, layer.norm_act(channels))
        self.classifier = Classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.blocks(x))
        return logits
