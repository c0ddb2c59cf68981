"""A plain network like VGG (Simonyan and Zisserman 2015), without shortcuts or bottlenecks.

No search trains on it: it shows whether a layer found on the other anchors transfers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from evonas.workers.anchors.layers import Classifier, Conv, LayerBuilder, scaled_width


@dataclass(frozen=True)
class VGGStage:
    """Consecutive 3×3 convolutions at one resolution; a 2×2 max pooling follows.

    Attributes:
        blocks: number of convolutions.
        width: channels of each, before the width multiplier.
    """

    blocks: int
    width: int


@dataclass(frozen=True)
class VGGConfig:
    """The configuration of a VGG network.

    Attributes:
        stages: from the highest resolution to the lowest.
        width_multiplier: scales every width.
        divisor: widths are rounded to a multiple of this.
    """

    stages: tuple[VGGStage, ...]
    width_multiplier: float = 1.0
    divisor: int = 8


VGG16 = VGGConfig((VGGStage(2, 64), VGGStage(2, 128), VGGStage(3, 256), VGGStage(3, 512), VGGStage(3, 512)))
"""Table 1 of the paper, column D. The last pooling reduces 32×32 images to 1×1."""

VGG_SMALL = VGGConfig((VGGStage(1, 16), VGGStage(2, 32), VGGStage(1, 64)))
VGG_MEDIUM = VGGConfig((VGGStage(1, 16), VGGStage(2, 32), VGGStage(2, 64)))


class VGG(nn.Module):
    """Stages of convolution and norm-act with pooling between, and the classifier.

    An average over h and w replaces the published head of two 4,096-wide layers, as is usual in networks with
    normalisation. Every position of the layer is a norm-act.
    """

    def __init__(self, config: VGGConfig, layer: LayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()
        channels = in_channels
        blocks: list[nn.Module] = []
        for stage in config.stages:
            outputs = scaled_width(stage.width, config.width_multiplier, config.divisor)
            for _ in range(stage.blocks):
                blocks += [Conv(channels, outputs, 3), layer.norm_act(outputs)]
                channels = outputs
            # Rounded up, so that an image too small for all poolings keeps a pixel.
            blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = Classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.blocks(x))
        return logits
