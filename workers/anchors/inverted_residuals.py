"""Networks of inverted residuals: MobileNetV2 (Sandler et al. 2018) and EfficientNet (Tan and Le 2019).

EfficientNet is MobileNetV2 with squeeze-and-excitation, larger kernels and scaled depth, so one class builds both.
Their configurations are in ``mobilenet.py`` and ``efficientnet.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from evonas.workers.anchors.layers import Classifier, Conv, Dense, LayerBuilder, scaled_width


@dataclass(frozen=True)
class InvertedStage:
    """Consecutive inverted residuals: a row of the papers' tables.

    Attributes:
        expansion: ratio of a block's inner channels to its input channels.
        width: output channels, before the width multiplier.
        blocks: number of blocks, before the depth multiplier.
        stride: stride of the first block's depthwise convolution; the others have stride 1.
        kernel: size of the depthwise convolutions.
    """

    expansion: int
    width: int
    blocks: int
    stride: int
    kernel: int = 3


@dataclass(frozen=True)
class InvertedConfig:
    """The configuration of a network of inverted residuals.

    Attributes:
        stages: from the highest resolution to the lowest.
        stem_width: channels of the first convolution, before the width multiplier.
        stem_stride: its stride.
        head_width: channels of the last 1×1 convolution, before the width multiplier.
        narrows_head: whether a width multiplier below 1 narrows the head; in MobileNetV2 it can only widen it.
        squeeze_ratio: ratio of the channels inside squeeze-and-excitation to a block's input channels; None
            for no squeeze-and-excitation.
        width_multiplier: scales every width.
        depth_multiplier: scales the number of blocks of each stage, rounded up.
        divisor: widths are rounded to a multiple of this.
    """

    stages: tuple[InvertedStage, ...]
    stem_width: int = 32
    stem_stride: int = 2
    head_width: int = 1280
    narrows_head: bool = False
    squeeze_ratio: float | None = None
    width_multiplier: float = 1.0
    depth_multiplier: float = 1.0
    divisor: int = 8


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from all channels' averages (Hu et al. 2018).

    Its swish is a part of the architecture, not a position of the searched layer.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        # Linear maps rather than 1×1 convolutions: the same function, ten times cheaper to call on a CPU.
        self.squeeze = Dense(channels, squeezed)
        self.excite = Dense(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x, (b, channels, h, w), by one gate per sample and channel."""
        gate: Tensor = self.excite(F.silu(self.squeeze(x.mean(dim=(2, 3)))))
        return x * gate.sigmoid()[:, :, None, None]


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project: a 1×1, a depthwise and a linear 1×1 convolution.

    An expansion by 1 is left out. Squeeze-and-excitation, if any, comes before the projection. The input is
    added to the output if both have the same shape.
    """

    def __init__(
        self,
        layer: LayerBuilder,
        inputs: int,
        outputs: int,
        stage: InvertedStage,
        stride: int,
        squeeze_ratio: float | None,
    ) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        expand = [Conv(inputs, inner), layer.norm_act(inner)] if stage.expansion != 1 else []
        depthwise = [Conv(inner, inner, stage.kernel, stride=stride, groups=inner), layer.norm_act(inner)]
        squeezed = None if squeeze_ratio is None else max(1, int(inputs * squeeze_ratio))
        squeeze = [] if squeezed is None else [SqueezeExcitation(inner, squeezed)]
        project = [Conv(inner, outputs), layer.norm(outputs)]
        self.path = nn.Sequential(*expand, *depthwise, *squeeze, *project)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (b, inputs, h, w) to (b, outputs, h / stride, w / stride), rounded up."""
        y: Tensor = self.path(x)
        return x + y if self.residual else y


class InvertedNet(nn.Module):
    """Stem, inverted residuals, a wide 1×1 convolution, and the classifier.

    Dropout and stochastic depth are left out: they regularise long trainings, but would only add noise to the
    score of a short one.
    """

    def __init__(self, config: InvertedConfig, layer: LayerBuilder, *, in_channels: int, classes: int) -> None:
        super().__init__()

        def width(channels: int) -> int:
            return scaled_width(channels, config.width_multiplier, config.divisor)

        channels = width(config.stem_width)
        self.stem = nn.Sequential(Conv(in_channels, channels, 3, stride=config.stem_stride), layer.norm_act(channels))
        blocks: list[nn.Module] = []
        for stage in config.stages:
            outputs = width(stage.width)
            for index in range(math.ceil(stage.blocks * config.depth_multiplier)):
                stride = stage.stride if index == 0 else 1
                blocks.append(InvertedResidual(layer, channels, outputs, stage, stride, config.squeeze_ratio))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        of_head = config.width_multiplier if config.narrows_head else max(1.0, config.width_multiplier)
        head = scaled_width(config.head_width, of_head, config.divisor)
        self.head = nn.Sequential(Conv(channels, head), layer.norm_act(head))
        self.classifier = Classifier(head, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.classifier(self.head(self.blocks(self.stem(x))))
        return logits
