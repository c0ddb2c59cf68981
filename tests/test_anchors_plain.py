"""The small anchors compute the equations of their papers, which are written out here over the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.workers.anchors import build_anchor


class Softplus:
    """A layer that differs between positions with and without activation."""

    def norm_act(self, channels: int) -> nn.Module:
        return nn.Softplus()

    def norm(self, channels: int) -> nn.Module:
        return nn.Tanh()


act, norm = F.softplus, torch.tanh


def classified(model: Any, x: Tensor) -> Tensor:
    linear = model.classifier.linear
    return x.flatten(2).mean(2) @ linear.weight.T + linear.bias


def resnet(model: Any, x: Tensor) -> Tensor:
    """Pre-activation: the shortcut of a block that changes the shape starts after the first norm-act."""
    x = F.conv2d(x, model.stem.weight, stride=2, padding=1)
    for block, stride in zip(model.blocks, (1, 2, 1), strict=True):
        y = act(x)
        shortcut = x if stride == 1 and x.shape[1] == 64 else F.conv2d(y, block.shortcut.weight, stride=stride)
        y = act(F.conv2d(y, block.conv1.weight))
        y = act(F.conv2d(y, block.conv2.weight, stride=stride, padding=1))
        x = F.conv2d(y, block.conv3.weight) + shortcut
    return classified(model, act(x))


def inverted(model: Any, x: Tensor, squeezes: bool) -> Tensor:
    """The first block keeps the shape, so that its input is added; the second halves it."""
    x = act(F.conv2d(x, model.stem[0].weight, stride=2, padding=1))
    for block, stride in zip(model.blocks, (1, 2), strict=True):
        modules = [module for module in block.path if sum(p.numel() for p in module.parameters())]
        y = act(F.conv2d(x, modules[0].weight))
        y = act(F.conv2d(y, modules[1].weight, stride=stride, padding=1, groups=y.shape[1]))
        if squeezes:
            gate = y.flatten(2).mean(2) @ modules[2].squeeze.weight.T + modules[2].squeeze.bias
            gate = (gate / (1 + torch.exp(-gate))) @ modules[2].excite.weight.T + modules[2].excite.bias
            y = y / (1 + torch.exp(-gate[:, :, None, None]))
        y = norm(F.conv2d(y, modules[-1].weight))
        x = x + y if stride == 1 else y
    return classified(model, act(F.conv2d(x, model.head[0].weight)))


def vgg(model: Any, x: Tensor) -> Tensor:
    weights = [module.weight for module in model.blocks if isinstance(module, nn.Conv2d)]
    for place, weight in enumerate(weights):
        x = act(F.conv2d(x, weight, padding=1))
        if place != 1:  # the second stage has two convolutions
            rows, columns = x.shape[2] % 2, x.shape[3] % 2
            x = F.max_pool2d(F.pad(x, (0, columns, 0, rows), value=-torch.inf), 2)
    return classified(model, x)


def densenet(model: Any, x: Tensor) -> Tensor:
    """Two blocks of two dense layers of growth 8, and between them a transition to half of the channels."""
    stem, one, two, _, transition, _, three, four, _ = model.blocks
    x = F.conv2d(x, stem.weight, stride=2, padding=1)
    for place, layer in enumerate((one, two, three, four)):
        if place == 2:
            x = F.conv2d(act(x), transition.weight)
            rows, columns = x.shape[2] % 2, x.shape[3] % 2
            inside = F.pad(torch.ones_like(x), (0, columns, 0, rows))
            # The mean over those pixels of a square that are in the image.
            x = F.avg_pool2d(F.pad(x, (0, columns, 0, rows)), 2) / F.avg_pool2d(inside, 2)
        y = F.conv2d(act(x), layer.path[1].weight)
        x = torch.cat([x, F.conv2d(act(y), layer.path[3].weight, padding=1)], 1)
    return classified(model, act(x))


NETWORKS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "resnet-small": resnet,
    "mobilenet-small": lambda model, x: inverted(model, x, squeezes=False),
    "efficientnet-small": lambda model, x: inverted(model, x, squeezes=True),
    "vgg-small": vgg,
    "densenet-small": densenet,
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(3, 1, 12, 12), (2, 1, 9, 15)])
def test_a_network_computes_what_its_paper_says(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(3)
    model = build_anchor(name, Softplus(), in_channels=1, classes=10).double()
    for parameter in model.parameters():  # biases start at 0, where they would not show
        parameter.data += 0.05 * torch.randn(parameter.shape, dtype=torch.float64)
    x = torch.randn(shape, dtype=torch.float64)
    # Sums of some hundred numbers in float64.
    torch.testing.assert_close(model(x), NETWORKS[name](model, x), rtol=1e-10, atol=1e-12)
