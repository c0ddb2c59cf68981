"""Networks with a forward that cannot be traced or rewritten, whose parts other forwards may share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tests.trap_models import Act, ConvBN, Parts
from tests.usual_models import conv3


class Untraceable(nn.Module):
    """A convolution, an optional normalisation, and a ReLU, in a forward that cannot be traced."""

    def __init__(self, bn: nn.Module, relu: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 3), bn, relu

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) if len(x) else x


class SharedRelu(nn.Sequential):
    """One ReLU in two such forwards; in the second, no normalisation comes before it."""

    def __init__(self) -> None:
        relu = nn.ReLU()
        super().__init__(
            Untraceable(nn.BatchNorm2d(3), relu),
            Untraceable(nn.Identity(), relu),
            Untraceable(nn.Identity(), nn.ReLU()),
        )


class TracedRelu(nn.Sequential):
    """One ReLU in such a forward and in one that can be traced, after a convolution."""

    def __init__(self) -> None:
        relu = nn.ReLU()
        super().__init__(Untraceable(nn.BatchNorm2d(3), relu), conv3(3, 3), relu)


class SharedAct(nn.Sequential):
    """One activation in its own forward, used in such a forward and after a normalisation."""

    def __init__(self) -> None:
        act = Act()
        super().__init__(ConvBN(), act, Untraceable(nn.Identity(), act))


class SharedNorm(nn.Sequential):
    """One normalisation in two such forwards, and in one with another activation after it."""

    def __init__(self) -> None:
        bn = nn.BatchNorm2d(3)
        super().__init__(Untraceable(bn, nn.ReLU()), Untraceable(bn, nn.SiLU()))


class TracedNorm(nn.Sequential):
    """One normalisation in such a forward, and in one that can be traced."""

    def __init__(self) -> None:
        bn = nn.BatchNorm2d(3)
        super().__init__(Untraceable(bn, nn.ReLU()), conv3(3, 3), bn)


class NormTwice(Untraceable):
    """Such a forward that mentions its normalisation twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) + self.bn(x) if len(x) else x


class ReluTwice(Untraceable):
    """Such a forward that mentions its ReLU twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.relu(self.conv(x)))) if len(x) else x


class Reaches(nn.Module):
    """Also calls a part of such a forward directly."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.block, self.part = Untraceable(nn.BatchNorm2d(3), nn.ReLU()), part

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + (self.block.bn(x) if self.part == "bn" else self.block.relu(x))


def parametrised() -> nn.Module:
    model = nn.Sequential(conv3(3, 3), nn.BatchNorm2d(3), nn.ReLU())
    parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    return model


class Prints(Parts):
    """Prints."""

    def forward(self, x: Tensor) -> Tensor:
        print("forward", end="")
        return F.relu(self.bn1(self.conv1(x)))


class Decorated(Parts):
    """Has a decorator whose effect is missing in a trace."""

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)))


class Defaults(Parts):
    """Has an optional argument."""

    def forward(self, x: Tensor, factor: float = 2.0) -> Tensor:
        return F.relu(self.bn1(self.conv1(x))) * factor


def patched() -> nn.Module:
    """A forward that is not the one of its class."""
    model = nn.Sequential(ConvBN(), Act())
    model[1].forward = F.silu
    return model


COUNT = 0


class Counts(Parts):
    """Changes a value outside of itself."""

    def forward(self, x: Tensor) -> Tensor:
        global COUNT
        COUNT += 1
        return F.relu(self.bn1(self.conv1(x)))


def noted(module: nn.Module, x: Tensor) -> Tensor:
    """Changes the module that it is given."""
    module.last = x
    return x


class Helped(Parts):
    """Has side effects through a function, a method, and a nested function."""

    last: Tensor | None = None

    def note(self, x: Tensor) -> Tensor:
        self.last = x
        return x


class ByFunction(Helped):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(noted(self, self.bn1(self.conv1(x))))


class ByMethod(Helped):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.note(self.bn1(self.conv1(x))))


class ByInner(Helped):
    def forward(self, x: Tensor) -> Tensor:
        def inner(y: Tensor) -> Tensor:
            self.last = y
            return y

        return F.relu(inner(self.bn1(self.conv1(x))))
