"""A swap by what was there changes no function, however a network shares modules, hooks into them or calls them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import evonas
from tests.usual_models import conv3


class Parts(nn.Module):
    """Three convolutions, each with its normalisation, and one ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (conv3(3, 3) for _ in range(3))
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(3) for _ in range(3))
        self.relu = nn.ReLU()


class Act(nn.Module):
    """An activation in a forward of its own, with one call whoever uses it."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)


class ConvBN(nn.Module):
    """Ends in a normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = conv3(3, 3), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Chain(Parts):
    """bn1 has to stay, because of a forward that cannot be written anew; so bn2 has to, and then bn3."""

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
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
    """The same, and the normalisations are registered the other way round."""

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
    """Another activation follows in each mode, and in one of them none."""

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
    """One call of an activation that is reached by a normalisation first, and by something else later."""

    def __init__(self) -> None:
        super().__init__()
        self.act = Act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(self.act(self.bn1(self.conv1(x)))))


class NormByMode(Parts):
    """Blocks that normalise in one mode alone."""

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
    """The same, by name."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x=self.conv2(self.act(self.bn1(self.conv1(x)))))


class ActOfSum(ActLater):
    """The same, and what else it meets is no module's value."""

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv2(x) + self.act(self.bn1(self.conv1(x))))


class TwoActivations(Parts):
    """Two activations follow, of which one is in place."""

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
    """Modules in a list, of which a dictionary is a part."""

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
    """The first of two arguments meets an activation and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = ByName.First(), ByName.First()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.bn1(self.conv1(x)), x)
        return self.last(b=self.bn2(self.conv2(x)), a=self.bn3(self.conv3(x)))


class Tuple(Parts):
    """A block that returns its normalisation's value among others."""

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


class Untraceable(nn.Module):
    """A convolution, a normalisation perhaps, and a ReLU, in a forward that cannot be traced."""

    def __init__(self, bn: nn.Module, relu: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 3), bn, relu

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) if len(x) else x


class SharedRelu(nn.Sequential):
    """One ReLU for two such forwards, of which the second has nothing that could be swapped before it."""

    def __init__(self) -> None:
        relu = nn.ReLU()
        super().__init__(
            Untraceable(nn.BatchNorm2d(3), relu),
            Untraceable(nn.Identity(), relu),
            Untraceable(nn.Identity(), nn.ReLU()),
        )


class TracedRelu(nn.Sequential):
    """One ReLU for such a forward and for one that can be traced, after a convolution."""

    def __init__(self) -> None:
        relu = nn.ReLU()
        super().__init__(Untraceable(nn.BatchNorm2d(3), relu), conv3(3, 3), relu)


class SharedAct(nn.Sequential):
    """One activation in a forward of its own, for such a forward and for a normalisation."""

    def __init__(self) -> None:
        act = Act()
        super().__init__(ConvBN(), act, Untraceable(nn.Identity(), act))


class SharedNorm(nn.Sequential):
    """One normalisation for two such forwards, and for one with another activation after it."""

    def __init__(self) -> None:
        bn = nn.BatchNorm2d(3)
        super().__init__(Untraceable(bn, nn.ReLU()), Untraceable(bn, nn.SiLU()))


class TracedNorm(nn.Sequential):
    """One normalisation for such a forward, and for one that can be traced."""

    def __init__(self) -> None:
        bn = nn.BatchNorm2d(3)
        super().__init__(Untraceable(bn, nn.ReLU()), conv3(3, 3), bn)


class NormTwice(Untraceable):
    """Such a forward that names its normalisation twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x))) + self.bn(x) if len(x) else x


class ReluTwice(Untraceable):
    """Such a forward that names its ReLU twice."""

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.relu(self.conv(x)))) if len(x) else x


class Reaches(nn.Module):
    """Calls a part of such a forward by itself as well."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.block, self.part = Untraceable(nn.BatchNorm2d(3), nn.ReLU()), part

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x) + (self.block.bn(x) if self.part == "bn" else self.block.relu(x))


def parametrised() -> nn.Module:
    model = nn.Sequential(conv3(3, 3), nn.BatchNorm2d(3), nn.ReLU())
    parametrize.register_parametrization(model[1], "weight", nn.Softplus())
    return model


def lower(module: nn.Module, given: object, y: Tensor) -> Tensor:
    return y - 0.25


def lower_before(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (given[0] - 0.25,)


def hooked(place: str, hook: str) -> Callable[[], nn.Module]:
    """Three modules after one another, one of which has a hook that changes what goes through it."""

    def make() -> nn.Module:
        model = nn.Sequential(ConvBN(), nn.Identity(), Act())
        if hook == "after":
            model.get_submodule(place).register_forward_hook(lower)
        else:
            model.get_submodule(place).register_forward_pre_hook(lower_before)
        return model

    return make


def graph_of_fx() -> nn.Module:
    class Functional(Parts):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.bn1(self.conv1(x)))

    return fx.symbolic_trace(Functional())


def made_of_constants() -> nn.Module:
    class Constant(Parts):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.bn1(self.conv1(x))) + torch.ones(3, 1, 1)

    return Constant()


# What is made, and the names of the normalisations that are replaced; every other one is kept.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "a chain of pairs that fall": (Chain, set()),
    "the chain backwards": (ChainBackwards, set()),
    "by mode": (ByMode, {"bn3"}),
    "a block by mode": (BlockByMode, set()),
    "a normalisation by mode": (NormByMode, set()),
    "an activation that something else meets later": (ActLater, set()),
    "an activation that something else meets by name": (ActByName, set()),
    "an activation that a sum meets": (ActOfSum, set()),
    "two activations": (TwoActivations, {"bn2", "bn3"}),
    "a Sequential that goes backwards": (Backwards, set()),
    "lists": (Lists, {"stages.0.bn", "stages.1.bn"}),
    "called twice": (Twice, {"other.bn"}),
    "by name": (ByName, {"bn3"}),
    "both arguments": (BothArguments, {"bn1"}),
    "the first argument": (FirstArgument, {"bn1"}),
    "a tuple": (Tuple, {"bn1"}),
    "a ReLU of two blocks": (SharedRelu, set()),
    "a ReLU that is traced elsewhere": (TracedRelu, set()),
    "an activation that is hidden elsewhere": (SharedAct, set()),
    "a normalisation of two blocks": (SharedNorm, set()),
    "a normalisation that is traced elsewhere": (TracedNorm, set()),
    "a normalisation that is reached for": (lambda: Reaches("bn"), set()),
    "a ReLU that is reached for": (lambda: Reaches("relu"), set()),
    "a normalisation whose weight is made": (parametrised, set()),
    "a normalisation that is named twice": (lambda: NormTwice(nn.BatchNorm2d(3), nn.ReLU()), set()),
    "a ReLU that is named twice": (lambda: ReluTwice(nn.BatchNorm2d(3), nn.ReLU()), set()),
    "a block that cannot be traced": (lambda: Untraceable(nn.BatchNorm2d(3), nn.ReLU()), {"bn"}),
    "no hook": (lambda: nn.Sequential(ConvBN(), nn.Identity(), Act()), {"0.bn"}),
    "a hook after the block": (hooked("0", "after"), set()),
    "a hook before the block": (hooked("0", "before"), {"0.bn"}),
    "a hook after the normalisation": (hooked("0.bn", "after"), {"0.bn"}),
    "a hook after the identity": (hooked("1", "after"), set()),
    "a hook before the identity": (hooked("1", "before"), set()),
    "a hook before the activation": (hooked("2", "before"), set()),
    "a hook after the activation": (hooked("2", "after"), {"0.bn"}),
    "a graph of torch.fx": (graph_of_fx, set()),
    "constants": (made_of_constants, set()),
}
CHANGED = {"a hook after the normalisation"}  # the report says that hooks now see the layer


@pytest.mark.parametrize(("hook", "place"), [("before", "1"), ("after", "1"), ("before", "2"), ("after", "0")])
def test_what_hooks_see_is_told_and_stays(hook: str, place: str) -> None:
    """Where a value meets hooks, none of what comes behind them counts as following it."""
    model = hooked(place, hook)()
    report = evonas.swap(model, "bn-relu")
    assert ("hooks of" in report.kept[0].reason) is (place != "1")
    assert ("goes to Identity" in report.kept[0].reason) is (place == "1")


def test_what_a_model_returns_is_told() -> None:
    assert "the model's output" in evonas.swap(ConvBN(), "bn-relu").kept[0].reason


def batch(seed: int) -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_may_go_goes_and_the_function_stays(name: str) -> None:
    make, wanted = NETWORKS[name]
    model = make()
    frozen = next(iter(model.children())).eval()
    changed = copy.deepcopy(model)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of guesses
        report = evonas.swap(changed, "bn-relu")
    assert {row.name for row in report.replaced} == wanted
    assert torch.equal(torch.get_rng_state(), state)
    modes = {n: m.training for n, m in changed.named_modules()}
    assert modes == {n: m.training for n, m in model.named_modules() if n in modes}
    assert not frozen.training
    if name in CHANGED:
        return
    for seed, training in enumerate((True, True, False)):
        model.train(training), changed.train(training)
        # Float32 over three layers of 144 values a channel.
        torch.testing.assert_close(changed(batch(seed)), model(batch(seed)), rtol=1e-4, atol=1e-5)
