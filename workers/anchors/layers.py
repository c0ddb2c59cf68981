"""The parts that all anchor families share: `LayerBuilder`, convolutions, classifier, and initial weights."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn


class LayerBuilder(Protocol):
    """Builds the layer under search at each of its positions in a network.

    Both methods return a module that keeps the shape (b, channels, h, w) of its input.
    `evonas.LayerFactory` is the implementation that a search passes to anchors.
    """

    def norm_act(self, channels: int) -> nn.Module:
        """Build the layer for a position with normalisation and activation."""
        ...

    def norm(self, channels: int) -> nn.Module:
        """Build the layer for a position with normalisation but no activation, as after a linear bottleneck."""
        ...


class Conv(nn.Conv2d):
    """A square convolution without bias that keeps h and w at stride 1 (odd kernels only)."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


class Dense(nn.Linear):
    """A linear map of averaged channels, (b, inputs) to (b, outputs), as in squeeze-and-excitation."""


class Classifier(nn.Module):
    """Average over h and w, then a linear map: (b, channels, h, w) to (b, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (b, channels, h, w) to logits (b, classes)."""
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw the published initial weights of a network's `Conv`, `Dense` and `Classifier` modules.

    Convolutions and dense maps are normal with variance 2 / fan-out (He et al. 2015). As in EfficientNet's code,
    the fan-out counts the outputs that one input reaches: without the division by the groups, a depthwise
    convolution would start near zero. The classifier is normal with a standard deviation of 0.01, as in
    MobileNetV2. Biases start at 0. Modules made by a layer builder are left as they are.
    """
    for module in model.modules():
        if isinstance(module, Conv):
            fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out), generator=generator)
        elif isinstance(module, Dense):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / module.out_features), generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Classifier):
            nn.init.normal_(module.linear.weight, 0.0, 0.01, generator=generator)
            nn.init.zeros_(module.linear.bias)


def scaled_width(channels: int, multiplier: float, divisor: int = 8) -> int:
    """Return ``channels`` times ``multiplier``, rounded to a multiple of ``divisor``.

    This is the rule of the published MobileNet and EfficientNet code: the result is at least one divisor, and
    never more than 10% below the exact product.
    """
    exact = channels * multiplier
    rounded = max(divisor, int(exact + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * exact else rounded
