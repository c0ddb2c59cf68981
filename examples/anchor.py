"""An anchor of your own: `evonas search --anchor examples/anchor.py:plain`.

An anchor is a function, or a subclass of `torch.nn.Module`, that is called with a `LayerBuilder` and returns a network
from images (b, in_channels, h, w) to logits (b, classes).
"""

from torch import Tensor, nn

from evonas.workers.anchors import LayerBuilder


def plain(layer: LayerBuilder, *, in_channels: int, classes: int) -> nn.Module:
    """Return three convolutions, each followed by the layer. For a position without activation, use `layer.norm`."""
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
    """A convolution with a shortcut around it."""

    def __init__(self, layer: LayerBuilder, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm_act = layer.norm_act(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (b, channels, h, w)."""
        return x + self.norm_act(self.conv(x))
