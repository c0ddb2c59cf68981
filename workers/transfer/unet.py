"""A small U-Net (Ronneberger, Fischer and Brox 2015), with the layer after each of its 3×3 convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evonas.workers.anchors.layers import Conv, LayerBuilder


class UNet(nn.Module):
    """Contracts by max pooling, expands by transposed convolutions, and concatenates features of equal resolution.

    Args:
        layer: builds the layer at each position.
        in_channels: channels of the images.
        classes: number of outputs per pixel.
        widths: channels at each resolution, from the highest.
    """

    def __init__(
        self, layer: LayerBuilder, in_channels: int, classes: int, widths: tuple[int, ...] = (12, 24, 48)
    ) -> None:
        super().__init__()
        inputs = (in_channels, *widths[:-1])
        self.down = nn.ModuleList(_twice(layer, i, o) for i, o in zip(inputs, widths, strict=True))
        self.pool = nn.MaxPool2d(2)
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.expand = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in upwards)
        self.up = nn.ModuleList(_twice(layer, 2 * o, o) for _, o in upwards)
        for expansion in self.expand:
            _keep_scale(expansion)
        self.classify = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (b, in_channels, h, w) to logits (b, classes, h, w); h and w must be multiples of 4."""
        levels = []
        for place, convolutions in enumerate(self.down):
            x = convolutions(x if place == 0 else self.pool(x))
            levels.append(x)
        for expand, convolutions, skip in zip(self.expand, self.up, levels[-2::-1], strict=True):
            x = convolutions(torch.cat([skip, expand(x)], 1))
        logits: Tensor = self.classify(x)
        return logits


def _keep_scale(expansion: nn.Module) -> None:
    """Initialise a transposed convolution, whose stride equals its kernel, so that outputs have the scale of inputs.

    PyTorch's default initialisation makes outputs 2.4 times smaller than the features from the shortcut.
    """
    assert isinstance(expansion, nn.ConvTranspose2d)
    nn.init.normal_(expansion.weight, 0.0, expansion.in_channels**-0.5)
    assert expansion.bias is not None
    nn.init.zeros_(expansion.bias)


def _twice(layer: LayerBuilder, inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Conv(inputs, outputs, 3), layer.norm_act(outputs), Conv(outputs, outputs, 3), layer.norm_act(outputs)
    )
