"""An anchor of your own: `evonas search --anchor examples/anchor.py:plain`.

An anchor is a function, or a class of `torch.nn.Module`, that is called with what makes the layers and returns a
network from images (b, in_channels, h, w) to logits (b, classes).
"""

from torch import Tensor, nn

from evonas import LayerFactory


def plain(layer: LayerFactory, *, in_channels: int, classes: int) -> nn.Module:
    """Three convolutions, each with the layer after it. Where there is no activation, take `layer.norm(channels)`."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False),
        layer.norm_act(16),
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        layer.norm_act(24),
        Shortcut(layer, 24),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, classes),
    )


class Shortcut(nn.Module):
    """A convolution with a way around it."""

    def __init__(self, layer: LayerFactory, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_act = layer.norm_act(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(b, channels, h, w) to the same shape."""
        return x + self.norm_act(self.conv(x))
