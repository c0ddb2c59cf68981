"""A swap by what was there changes no function, however a network shares modules, hooks into them or calls them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import evonas
from tests.hidden_models import (
    ByFunction,
    ByInner,
    ByMethod,
    Counts,
    Decorated,
    Defaults,
    NormTwice,
    Prints,
    Reaches,
    ReluTwice,
    SharedAct,
    SharedNorm,
    SharedRelu,
    TracedNorm,
    TracedRelu,
    Untraceable,
    parametrised,
    patched,
)
from tests.trap_models import (
    Act,
    ActByName,
    ActLater,
    ActOfSum,
    Backwards,
    BlockByMode,
    BothArguments,
    ByMode,
    ByName,
    Chain,
    ChainBackwards,
    ConvBN,
    FirstArgument,
    Lists,
    NormByMode,
    Parts,
    Tuple,
    Twice,
    TwoActivations,
    with_dropout,
)
from tests.usual_models import conv3


def lower(module: nn.Module, given: object, y: Tensor) -> Tensor:
    return y - 0.25


def lower_before(module: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
    return (given[0] - 0.25,)


def hooked(place: str, hook: str) -> Callable[[], nn.Module]:
    """Three consecutive modules, one of which has a hook that changes the value."""

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
    "a forward that prints": (Prints, {"bn1"}),
    "a decorated forward": (Decorated, set()),
    "an optional argument": (Defaults, {"bn1"}),
    "a forward that was put on the module": (patched, set()),
    "a forward that counts": (Counts, set()),
    "a function with effects": (ByFunction, set()),
    "a method with effects": (ByMethod, set()),
    "a function in a forward": (ByInner, set()),
    "dropout inside a normalisation": (with_dropout, set()),
    "no hook": (lambda: nn.Sequential(ConvBN(), nn.Identity(), Act()), {"0.bn"}),
    "a hook after the block": (hooked("0", "after"), set()),
    "a hook before the block": (hooked("0", "before"), {"0.bn"}),
    "a hook after the normalisation": (hooked("0.bn", "after"), {"0.bn"}),
    "a hook after the identity": (hooked("1", "after"), set()),
    "a hook before the identity": (hooked("1", "before"), set()),
    "a hook before the activation": (hooked("2", "before"), set()),
    "a hook after the activation": (hooked("2", "after"), {"0.bn"}),
    "a graph of torch.fx": (graph_of_fx, {"bn1"}),
    "constants": (made_of_constants, {"bn1"}),
}
CHANGED = {"a hook after the normalisation"}  # the report says that hooks now see the layer


@pytest.mark.parametrize(("hook", "place"), [("before", "1"), ("after", "1"), ("before", "2"), ("after", "0")])
def test_what_hooks_see_is_reported_and_stays(hook: str, place: str) -> None:
    """A value that passes hooks may be changed, so modules behind the hooks do not count as following it."""
    model = hooked(place, hook)()
    report = evonas.swap(model, "bn-relu")
    assert ("hooks of" in report.kept[0].reason) is (place != "1")
    assert ("goes to Identity" in report.kept[0].reason) is (place == "1")


@pytest.mark.parametrize(
    ("norm", "momentum", "eps", "groups", "affine"),
    [
        (nn.BatchNorm2d(6, momentum=0.0, eps=1e-3), 0.0, 1e-3, 32, True),
        (nn.BatchNorm2d(6, momentum=None), None, 1e-5, 32, True),  # a cumulative average
        (nn.BatchNorm2d(6, affine=False), 0.1, 1e-5, 32, False),
        (nn.GroupNorm(3, 6, eps=1e-4, affine=False), 0.1, 1e-4, 3, False),
        (nn.InstanceNorm2d(6, affine=True, momentum=0.3), 0.3, 1e-5, 32, True),
    ],
)
def test_settings_of_a_normalisation_are_kept(
    norm: nn.Module, momentum: float | None, eps: float, groups: int, affine: bool
) -> None:
    model = nn.Sequential(conv3(3, 6), norm, nn.ReLU(), conv3(6, 6), copy.deepcopy(norm)).eval()
    for parameter in norm.parameters():
        nn.init.constant_(parameter, 2.0)
    evonas.swap(model, "evonorm-s0", linear="affine")
    layer, alone = model[1], model[4]
    assert isinstance(layer, evonas.NormAct) and isinstance(alone, evonas.NormAct)
    assert (layer.momentum, layer.eps, layer.groups) == (momentum, eps, groups)
    assert (layer.weight is not None, alone.weight is not None) == (affine, True)
    assert layer.weight is None or bool((layer.weight == 1).all())  # a pair starts afresh
    assert not any(module.training for module in model.modules())


def test_what_a_model_returns_is_reported() -> None:
    assert "the model's output" in evonas.swap(ConvBN(), "bn-relu").kept[0].reason


def batch(seed: int) -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_pairs_are_replaced_and_the_function_stays(name: str) -> None:
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
