"""Networks whose sharing, hooks and branches a swap must notice; their forwards can be traced."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.usual_models import NormActOfTimm, conv3


class Parts(nn.Module):
    """Three convolutions, each with its normalisation, and one ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (conv3(3, 3) for _ in range(3))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(3) for _ in range(3))
        self.relu = nn.ReLU()


class Act(nn.Module):
    """An activation in its own forward, with one call for all its users."""

    def __init__(self) -> None:
        super().__init__()
        self.child = nn.Identity()  # with which it is no activation by itself

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.child(x))


class ConvBN(nn.Module):
    """Ends in a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv3(3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Chain(Parts):
    """bn1 must stay, because of a forward that cannot be rewritten; so bn2 must stay, and then bn3."""

    class Fixed(Act):
        @torch.enable_grad()
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x)

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.first, self.second = self.Fixed(), Act(), Act()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        x = self.fixed(y) + self.first(y)
        y = self.bn2(self.conv2(x))
        x = self.first(y) + self.second(y)
        return self.second(self.bn3(self.conv3(x)))


class ChainBackwards(Chain):
    """The same, with the normalisations registered in reverse order."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.bn3 = self.bn3, self.bn1

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn3(self.conv3(x))
        x = self.fixed(y) + self.first(y)
        y = self.bn2(self.conv2(x))
        x = self.first(y) + self.second(y)
        return self.second(self.bn1(self.conv1(x)))


class ByMode(Parts):
    """Different activations follow in training and in evaluation, or none in one of them."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = F.relu(y) if self.training else y
        z = self.bn2(self.conv2(y))
        z = z if self.training else F.relu(z)
        return F.relu(self.bn3(self.conv3(z)))


class BlockByMode(Parts):
    """A block that is an activation in one mode, and nothing in the other."""

    class Block(nn.Module):
        def __init__(self, mode: bool) -> None:
            super().__init__()
            self.mode = mode

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) if self.training is self.mode else x

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = self.Block(True), self.Block(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.one(self.bn1(self.conv1(x)))
        return self.other(self.bn2(self.conv2(x)))


class ActLater(Parts):
    """One call of an activation, first with the value of a normalisation and later with another value."""

    def __init__(self) -> None:
        super().__init__()
        self.act = Act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.act(self.bn1(self.conv1(x)))))


class NormByMode(Parts):
    """Blocks that normalise in one mode only."""

    class Block(nn.Module):
        def __init__(self, mode: bool) -> None:
            super().__init__()
            self.bn, self.mode = nn.BatchNorm2d(3), mode

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(x) if self.training is self.mode else x

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = self.Block(True), self.Block(False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.one(self.conv1(x)))
        return F.relu(self.other(self.conv2(x)))


class ActByName(ActLater):
    """The same, with the value passed by name."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x=self.conv2(self.act(self.bn1(self.conv1(x)))))


class ActOfSum(ActLater):
    """The same, where the other value is not the output of a module."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(x) + self.act(self.bn1(self.conv1(x))))


class TwoActivations(Parts):
    """Two activations follow, one of them in place."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        x = F.relu(y) + F.silu(y)
        z = self.bn2(self.conv2(x))
        x = z.relu() - F.relu(z)
        return self.bn3(self.conv3(x)).relu_()


class Backwards(nn.Sequential):
    """Calls its modules from the last to the first."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(3), nn.ReLU(), conv3(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        for module in reversed(list(self)):
            x = module(x)
        return x


class Lists(nn.Module):
    """Modules in a list that contains a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.ModuleDict({"conv": conv3(3, 3), "bn": nn.BatchNorm2d(3), "act": nn.ReLU()}) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = stage["act"](stage["bn"](stage["conv"](x)))
        return x


class Twice(Parts):
    """A block that is called twice, and whose output is used in two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.other = ConvBN(), ConvBN()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.block(x))
        x = F.relu(self.other(x)) + F.relu(self.other(x + 1))
        return self.block(x)


class ByName(Parts):
    """Values that are passed by name, as a second argument, or as both."""

    class Second(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return F.relu(a) - b

    class First(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return F.relu(a) * 0.5 + b

    def __init__(self) -> None:
        super().__init__()
        self.second, self.first = self.Second(), self.First()

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(x, self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        x = self.first(y, y)
        return F.relu(input=self.bn3(self.conv3(x)))


class BothArguments(Parts):
    """Both arguments are normalised, and an activation follows in the block for one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.second = ByName.Second()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.bn1(self.conv1(x)), self.bn2(self.conv2(x)))


class FirstArgument(Parts):
    """Only an activation uses the first of two arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = ByName.First(), ByName.First()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.bn1(self.conv1(x)), x)
        return self.last(b=self.bn2(self.conv2(x)), a=self.bn3(self.conv3(x)))


class Tuple(Parts):
    """A block that returns the value of its normalisation along with others."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = conv3(3, 3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.bn(self.conv(x))
            return y, F.relu(y)

    def __init__(self) -> None:
        super().__init__()
        self.both = self.Both()

    def forward(self, x: Tensor) -> Tensor:
        y, z = self.both(x)
        return F.relu(y) - z + F.relu(self.bn1(self.conv1(x)))


def with_dropout() -> nn.Module:
    """A normalisation that contains its activation, and dropout between the two."""
    norm = NormActOfTimm(3)
    norm.drop = nn.Dropout2d(0.0)
    return nn.Sequential(conv3(3, 3), norm)
