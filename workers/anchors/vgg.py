"""A plain network in the manner of VGG (Simonyan and Zisserman 2015): no shortcuts, no bottlenecks.

No search trains on it: it is there to show whether a layer that was found on the other anchors transfers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from evonas.workers.anchors.layers import Classifier, Conv, LayerBuilder, scaled_width


@dataclass(frozen=True)
class VGGStage:
    """Consecutive 3×3 convolutions at one resolution; a 2×2 max pooling follows.

    Attributes:
        blocks: how many.
        width: their channels, before the width multiplier.
    """

    blocks: int
    width: int


@dataclass(frozen=True)
class VggConfig:
    """A member of the family.

    Attributes:
        stages: from the highest resolution to the lowest.
        width_multiplier: scales every width.
        divisor: widths are rounded to a multiple of this.
    """

    stages: tuple[VGGStage, ...]
    width_multiplier: float = 1.0
    divisor: int = 8


VGG16 = VggConfig((VGGStage(2, 64), VGGStage(2, 128), VGGStage(3, 256), VGGStage(3, 512), VGGStage(3, 512)))
"""Table 1 of the paper, column D. 32×32 images are 1×1 after the last pooling."""

SMALL = VggConfig((VGGStage(1, 16), VGGStage(2, 32), VGGStage(1, 64)))


class Vgg(nn.Module):
    """Stages of convolution and norm-act with pooling between, and the classifier.

    The published head of two 4,096-wide layers gives way to an average over h and w, as is usual where
    there is a normalisation. Every position of the layer is a norm-act.
    """

    def __init__(self, config: VggConfig, layer: LayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()
        channels = in_channels
        blocks: list[nn.Module] = []
        for stage in config.stages:
            outputs = scaled_width(stage.width, config.width_multiplier, config.divisor)
            for _ in range(stage.blocks):
                blocks += [Conv(channels, outputs, 3), layer.norm_act(outputs)]
                channels = outputs
            # Rounded up, so that an image smaller than the poolings call for keeps a pixel.
            blocks.append(nn.MaxPool2d(2, ceil_mode=True))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = Classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, in_channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.blocks(x))
        return logits
