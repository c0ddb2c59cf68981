"""An ordinary model as an anchor: `evonas search --anchor examples/model.py:build`.

A function, or the class of a network, that is called with `(in_channels, classes)` returns a model as it is, with
BatchNorms and activations. Candidates are swapped into it, as `evonas.swap` does, so the layer that is found is one for
this very model. It returns logits (b, classes), or an object, mapping or tuple with `logits` or with logits first. If
it has a method `loss(output, labels)`, that is what is minimised. It may import files beside this one.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class Net(nn.Module):
    """A small network, as anybody writes it."""

    def __init__(self, in_channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(24)
        self.head = nn.Linear(24, classes)

    def forward(self, x: Tensor) -> Tensor:
        """From images (b, in_channels, h, w) to logits (b, classes)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


def build(in_channels: int, classes: int) -> nn.Module:
    """Return the model."""
    return Net(in_channels, classes)
