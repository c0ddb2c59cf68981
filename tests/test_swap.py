"""`evonas.swap` on networks as people write them, and on traps."""

from __future__ import annotations

import copy
import json
import pickle
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import evonas
from evonas.swapping.swap_report import Action
from tests.usual_models import (
    BasicBlock,
    Bottleneck,
    DenseLayer,
    EfficientNet,
    Generator,
    MobileNetV2,
    NormActOfTimm,
    PreActResNet,
    ResNet,
    Sequences,
    UNet,
    Volumes,
    conv3,
)

IMAGES = (2, 3, 32, 32)
# (network, shape of its input, pairs, normalisations without activation, the zoo's name of what it has)
STYLES = {
    "basic-resnet": (lambda: ResNet(BasicBlock), IMAGES, 4, 4, "bn-relu"),
    "bottleneck-resnet": (lambda: ResNet(Bottleneck), IMAGES, 7, 5, "bn-relu"),
    "preactivation": (PreActResNet, (2, 3, 16, 16), 7, 0, "bn-relu"),
    "mobilenet": (MobileNetV2, IMAGES, 7, 3, "max(min((x - mean_bwh(x)) / std_bwh(x), 6), 0)"),
    "efficientnet": (EfficientNet, IMAGES, 7, 3, "bn-swish"),
    "unet": (UNet, (2, 3, 18, 14), 10, 0, "bn-relu"),
    "generator": (Generator, (2, 16, 1, 1), 2, 0, "bn-relu"),
    "sequences": (Sequences, (4, 3, 30), 3, 0, "bn-relu"),
    "volumes": (Volumes, (2, 2, 5, 6, 4), 2, 0, "bn-relu"),
}


def made(style: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return STYLES[style][0](), torch.randn(STYLES[style][1])


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("layer", ["evonorm-b0", "evonorm-s0"])
def test_pairs_of_the_usual_styles_are_replaced(style: str, layer: str) -> None:
    model, x = made(style)
    report = evonas.swap(model, layer)
    assert (len(report.replaced), len(report.kept)) == STYLES[style][2:4]
    assert all(row.certain for row in report.norms)
    layers = {name for name, module in model.named_modules() if isinstance(module, evonas.NormAct)}
    assert layers == {row.name for row in report.replaced}
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)] or report.kept
    model(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert model.eval()(x).isfinite().all()


@pytest.mark.parametrize("style", [style for style in STYLES if style != "mobilenet"])
def test_with_the_layer_that_was_there_the_function_stays(style: str) -> None:
    """The networks already have BN-ReLU and BN-Swish, so swapping these in must not change the function."""
    model, x = made(style)
    changed = copy.deepcopy(model)
    evonas.swap(changed, STYLES[style][4])
    for mode in (True, False):
        model.train(mode), changed.train(mode)
        with torch.random.fork_rng():
            torch.manual_seed(1)  # of dropout
            expected = model(x)
            torch.manual_seed(1)
            got = changed(x)
        # Float32 over some ten layers, two of which divide by the deviation of four values.
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("style", STYLES)
def test_a_swapped_network_is_copied_pickled_and_loaded(style: str) -> None:
    model, x = made(style)
    evonas.swap(model, "evonorm-s0", linear="affine")
    model.eval()
    y = model(x)
    assert torch.equal(copy.deepcopy(model)(x), y)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), y)
    other, _ = made(style)
    evonas.swap(other, "evonorm-s0", linear="affine")
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(x), y)


def test_a_block_stays_what_it_is() -> None:
    model, _ = made("bottleneck-resnet")
    before = model.layer2[0]
    report = evonas.swap(model, "evonorm-s0")
    assert model.layer2[0] is before
    assert isinstance(before, Bottleneck)
    assert before.stride == 2
    assert isinstance(before.relu, nn.ReLU)  # the call after the sum keeps it
    assert isinstance(model.relu, nn.Identity)  # of the stem, whose only call went with the layer
    assert set(report.rewritten) == {"layer1.0", "layer2.0", "layer2.1"}


@pytest.mark.parametrize(
    ("linear", "kind", "action"), [("affine", "x", "affine"), ("replace", "evonorm-s0", "replaced")]
)
def test_what_has_no_activation_goes_as_wanted(linear: str, kind: str, action: str) -> None:
    model, x = made("basic-resnet")
    nn.init.zeros_(model.layer1[0].bn2.weight)  # as residual networks are often started
    nn.init.constant_(model.layer1[0].bn2.bias, 0.5)
    report = evonas.swap(model, "evonorm-s0", linear=linear)
    row = next(row for row in report.norms if row.name == "layer1.0.bn2")
    placed = model.layer1[0].bn2
    assert row.action is Action(action)
    assert placed.graph.key == evonas.NormAct(kind, 1).graph.key
    assert not placed.weight.any()
    assert (placed.bias == 0.5).all()
    assert not report.kept
    model(x).sum().backward()


def test_patterns_choose() -> None:
    model, _ = made("basic-resnet")
    report = evonas.swap(model, "evonorm-s0", include="layer*", exclude=["layer1.*"])
    assert {row.name for row in report.replaced} == {"layer2.0.bn1", "layer2.1.bn1"}
    assert isinstance(model.bn1, nn.BatchNorm2d)
    assert isinstance(model.relu, nn.ReLU)
    with pytest.raises(evonas.UsageError, match="layerr"):
        evonas.swap(model, "evonorm-s0", include="layerr*")


class Module(nn.Module):
    """One normalisation `bn` and one ReLU `relu`; each trap has its own forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 3), nn.BatchNorm2d(3), nn.ReLU()


class UsedTwice(Module):
    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        return self.relu(y) + y


class UsedInPlace(Module):
    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.conv(x))
        F.relu_(y)
        return y


class ReturnedToo(Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn(self.conv(x))
        return self.relu(y), y


class Gated(Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.bn(self.conv(x))) * x


class OneReluForBoth(Module):
    """One call of the activation, with the values of the normalisation and of another module."""

    class Act(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(super().forward(x))

    def __init__(self) -> None:
        super().__init__()
        self.act = self.Act(nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.act(self.conv(x))))


class Swish(nn.Module):
    """As a library may write its own; with another `beta` it is not a published activation."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, x: Tensor) -> Tensor:
        return x.mul(torch.sigmoid(self.beta * x))


class OwnSwish(Module):
    def __init__(self, beta: float = 3.0) -> None:
        super().__init__()
        self.swish = Swish(beta)

    def forward(self, x: Tensor) -> Tensor:
        return self.swish(self.bn(x))


class Draws(Module):
    def forward(self, x: Tensor) -> Tensor:
        if torch.rand(()) < 0.5:
            return self.conv(x)
        return F.relu(self.bn(x))


class Optional(Module):
    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        x = self.bn(x)
        if scale is not None:
            x = x * scale
        return self.relu(x)


class Wrapped(Module):
    @torch.enable_grad()
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Loops(Module):
    """Cannot be traced, and its ReLU is called more often than it is registered."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(x))
        while x.sum() > 1e9:
            x = x / 2
        return self.relu(self.conv(x))


class Steps(Module):
    def forward(self, x: Tensor) -> Tensor:
        self.last = self.bn(x)
        return F.relu(self.last)


class Outer(nn.Module):
    """Contains a trap in a forward that cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(conv3(3, 3), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(x)
        return F.relu(y) if len(y) else y


@pytest.mark.parametrize(
    ("trap", "why"),
    [
        (UsedTwice, "more than the activation: also by add"),
        (UsedInPlace, "more than the activation"),
        (ReturnedToo, "more than the activation: also by what the model returns"),
        (Gated, "sigmoid follows, which is a gate"),
        (OneReluForBoth, "also applied to a value that is not replaced (Conv2d)"),
        (OwnSwish, "Swish follows, which may be an activation"),
        (Draws, "it draws random numbers"),
        (Optional, "more than the activation: also by mul"),
        (Wrapped, "is decorated"),
        (Loops, "may be called several times"),
        (Steps, "sets attributes"),
        (Outer, "cannot trace"),
    ],
)
def test_no_function_is_changed_silently(trap: type[nn.Module], why: str) -> None:
    torch.manual_seed(0)
    model, x = trap(), torch.randn(2, 3, 8, 8)
    before, kinds = copy.deepcopy(model), [type(m) for m in model.modules()]
    report = evonas.swap(model, "evonorm-s0")
    assert not report.replaced
    assert why in report.kept[0].reason
    assert [type(m) for m in model.modules()] == kinds
    torch.manual_seed(1)
    got = model(x)
    torch.manual_seed(1)
    assert torch.equal(torch.as_tensor(got[0]), torch.as_tensor(before(x)[0]))


def test_a_library_s_own_swish_is_known_by_its_values() -> None:
    model, x = OwnSwish(1.0), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)
    (row,) = evonas.swap(model, "bn-swish").replaced
    assert row.activation == "silu" and row.certain
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=1e-5)  # float32


def test_activations_of_ones_own_can_be_named() -> None:
    model = OwnSwish()
    report = evonas.swap(model, "evonorm-s0", activations=[Swish])
    assert report.replaced[0].activation == "Swish"
    assert isinstance(model.swish, nn.Identity)


class AcrossModules(nn.Module):
    """The normalisation ends one module; the activation is in the forward around it."""

    class ConvBN(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = conv3(3, 3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.unused = self.ConvBN(), self.ConvBN(), self.ConvBN()

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.first(x), 0.2)
        return torch.relu(self.second(y)) + (y if self.training else 0)


def test_pairs_across_modules_and_modes() -> None:
    model, x = AcrossModules(), torch.randn(2, 3, 8, 8)
    report = evonas.swap(model, "bn-relu")
    assert [row.activation for row in report.replaced] == ["leaky_relu", "relu"]
    assert "unused, which no traced forward calls" in report.kept[0].reason
    y = model.eval().second(model.first(x))
    assert torch.equal(model(x), y)  # in evaluation without the shortcut, as written
    model.train()
    y = model.first(x)
    torch.testing.assert_close(model(x), model.second(y) + y, rtol=0, atol=1e-6)


def test_a_forward_that_cannot_be_traced_is_read_by_order_and_says_so() -> None:
    model, x = AsksForValues(), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)
    with pytest.warns(UserWarning, match="guessed from the order of modules.*: bn. "):
        report = evonas.swap(model, "bn-relu")
    assert [row.certain for row in report.replaced] == [False]
    assert "guess" in str(report)
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=1e-5)  # float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not evonas.swap(AsksForValues(), "bn-relu", by_order=False).replaced


class AsksForValues(nn.Module):
    """As transformers' MobileNetV2: tests whether there is a normalisation, and asks for a value of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 4), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x[..., : int(x.shape[-1]) // 2])
        if self.bn is not None:
            x = self.bn(x)
        return self.relu(x) if self.relu else x


def test_a_forward_that_takes_a_tensor_or_a_list_is_followed_both_ways() -> None:
    model, x = DenseLayer(3, 4), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)
    report = evonas.swap(model, "bn-relu")
    assert [row.certain for row in report.replaced] == [True, True]
    torch.testing.assert_close(model([x, x[:, :0]]), before([x, x[:, :0]]), rtol=0, atol=1e-5)  # float32
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=1e-5)


class OnlyForLists(nn.Module):
    """What follows the normalisation depends on whether it gets a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 4), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor | list[Tensor]) -> Tensor:
        if isinstance(x, Tensor):
            return self.relu(self.bn(self.conv(x)))
        y = self.bn(self.conv(x[0]))
        return self.relu(y) + y


class Features(nn.ModuleDict):
    """A container with a forward of its own, as timm has them, which calls a normalisation that its owner calls too."""

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for module in self.values():
            x = module(x)
            found.append(x)
        return found


class AroundContainer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.relu = conv3(3, 4), nn.BatchNorm2d(4), nn.ReLU()
        self.features = Features({"bn": self.bn, "conv": conv3(4, 4)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.relu(self.bn(y)) + self.features(y)[1]


@pytest.mark.parametrize("trap", [OnlyForLists, AroundContainer])
def test_what_other_paths_do_keeps_a_normalisation(trap: type[nn.Module]) -> None:
    assert not evonas.swap(trap(), "bn-relu").replaced


@pytest.mark.parametrize("between", [nn.Identity(), nn.Dropout(0.0), nn.Dropout2d(0), nn.Sequential()], ids=repr)
def test_what_changes_nothing_may_stand_between(between: nn.Module) -> None:
    model, x = nn.Sequential(conv3(3, 4), nn.BatchNorm2d(4), between, nn.ReLU()), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(model)
    assert len(evonas.swap(model, "bn-relu").replaced) == 1
    torch.testing.assert_close(model(x), before(x), rtol=0, atol=1e-5)  # float32


def test_a_dropout_between_keeps_a_normalisation() -> None:
    report = evonas.swap(nn.Sequential(conv3(3, 4), nn.BatchNorm2d(4), nn.Dropout(0.1), nn.ReLU()), "bn-relu")
    assert "Dropout" in report.kept[0].reason


@pytest.mark.parametrize(("rate", "pairs"), [(0.0, 1), (0, 1), (0.1, 0)])
def test_a_dropout_as_a_function_keeps_a_normalisation_unless_it_drops_nothing(rate: float, pairs: int) -> None:
    class Drops(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.rate = conv3(3, 4), nn.BatchNorm2d(4), rate

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(F.dropout(self.norm(self.conv(x)), p=self.rate, training=self.training))

    model, x = Drops(), torch.randn(2, 3, 6, 6)
    expected = model(x)
    assert len(evonas.swap(model, "bn-relu").replaced) == pairs
    if pairs:
        torch.testing.assert_close(model(x), expected)


def test_a_normalisation_with_its_activation_inside_is_a_pair() -> None:
    model = nn.Sequential(conv3(3, 4), NormActOfTimm(4), conv3(4, 4), NormActOfTimm(4, apply_act=False), conv3(4, 4))
    report = evonas.swap(model, "evonorm-s0")
    assert [row.name for row in report.replaced] == ["1"]
    assert report.replaced[0].activation == "ReLU"
    assert "no activation follows" in report.kept[0].reason


def test_state_of_the_normalisation_is_kept() -> None:
    model = nn.Sequential(
        conv3(3, 6), nn.BatchNorm2d(6, eps=1e-3, momentum=0.01), nn.ReLU(), nn.GroupNorm(3, 6), nn.ReLU()
    )
    model.double().train()
    model[1].eval()  # as frozen statistics are
    seen: list[str] = []
    norm_handle = model[1].register_forward_hook(
        lambda m, _, y: seen.append(f"{type(m).__name__} {bool((y < 0).any())}")
    )
    model[2].register_forward_hook(lambda m, *_: seen.append(type(m).__name__))
    report = evonas.swap(model, "evonorm-b0")
    layer = model[1]
    assert (layer.training, layer.weight.dtype, layer.eps, layer.momentum) == (False, torch.float64, 1e-3, 0.01)
    assert model[3].training
    assert model[3].groups == 3
    assert "hooks now see the layer" in str(report)
    model(torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert seen == ["NormAct True", "Identity"]
    norm_handle.remove()
    model(torch.randn(2, 3, 4, 4, dtype=torch.float64))
    assert len(seen) == 3  # the handle from before the swap took the hook away

    on_meta = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()).to("meta")
    evonas.swap(on_meta, "evonorm-b0")
    assert {t.device.type for t in (*on_meta.parameters(), *on_meta.buffers())} == {"meta"}


def test_shared_modules_are_replaced_everywhere() -> None:
    bn, relu = nn.BatchNorm2d(3), nn.ReLU()
    model = nn.Sequential(conv3(3, 3), bn, relu, conv3(3, 3), bn, relu, conv3(3, 3), relu)
    report = evonas.swap(model, "bn-relu")
    assert len(report.replaced) == 1
    assert model[1] is model[4]
    assert [type(model[i]) for i in (2, 5, 7)] == [nn.Identity, nn.Identity, nn.ReLU]


def test_other_normalisations_are_named_and_kept() -> None:
    lazy = nn.Sequential(nn.Conv2d(3, 3, 1), nn.LazyBatchNorm2d(), nn.ReLU(), nn.LayerNorm([3, 4, 4]), nn.ReLU())
    report = evonas.swap(lazy, "evonorm-s0")
    assert not report.replaced
    assert "lazy" in report.kept[0].reason
    assert "LayerNorm" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["norms"][1]["action"] == "kept"


@pytest.mark.parametrize(
    ("norm", "layer"),
    [(nn.GroupNorm(4, 8), "gn-relu"), (nn.InstanceNorm1d(8, affine=True), "in-relu"), (nn.BatchNorm1d(8), "bn-relu")],
)
def test_a_normalisation_of_sequences_is_replaced_by_the_same(norm: nn.Module, layer: str) -> None:
    model = nn.Sequential(nn.Conv1d(3, 8, 3), norm, nn.ReLU()).double()
    before, x = copy.deepcopy(model), torch.randn(4, 3, 20, dtype=torch.float64)
    assert len(evonas.swap(model, layer).replaced) == 1
    torch.testing.assert_close(model(x), before(x), rtol=1e-12, atol=1e-12)  # float64, sums in another order


def test_statistics_over_positions_behind_a_linear_are_reported() -> None:
    report = evonas.swap(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU()), "in-relu")
    assert "statistics over wh are of one value" in str(report)
    report = evonas.swap(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU()), "bn-relu")
    assert report.replaced and not report.replaced[0].notes


class LlamaRMSNorm(nn.Module):
    """As transformers writes it: a normalisation by its name alone."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * self.weight


class FrozenBatchNorm2d(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.get_buffer("scale").view(1, -1, 1, 1)


def test_whatever_looks_like_a_normalisation_is_in_the_report() -> None:
    made = [
        conv3(3, 4),
        FrozenBatchNorm2d(4),
        nn.ReLU(),
        LlamaRMSNorm(8),
        nn.LayerNorm(8),
        nn.BatchNorm2d(4),
        nn.ReLU(),
    ]
    report = evonas.swap(nn.Sequential(*made), "evonorm-s0")
    reasons = {row.norm: row.reason for row in report.kept}
    assert list(reasons) == ["FrozenBatchNorm2d", "LlamaRMSNorm", "LayerNorm"]
    assert "frozen" in reasons["FrozenBatchNorm2d"] and "by its name" in reasons["LlamaRMSNorm"]
    assert [row.name for row in report.replaced] == ["5"]
    found = evonas.swap(nn.ModuleDict({"a": nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8))}), "dyt", include="a.*")
    assert [row.name for row in found.kept] == ["a.1"]


@pytest.mark.parametrize(
    ("norm", "layer", "says"),
    [
        (nn.BatchNorm2d(4, momentum=None), "bn-relu", "plain averages"),
        (nn.BatchNorm2d(4, track_running_stats=False), "bn-relu", "running values there"),
        (nn.InstanceNorm2d(4, track_running_stats=True), "in-relu", "are not taken over"),
        (nn.SyncBatchNorm(4), "evonorm-b0", "of all processes too"),
        (nn.SyncBatchNorm(4), "evonorm-s0", ""),
        (nn.BatchNorm2d(4), "bn-relu", ""),
    ],
)
def test_what_becomes_of_statistics_is_in_the_report(norm: nn.Module, layer: str, says: str) -> None:
    model = nn.Sequential(conv3(3, 4), norm, nn.ReLU())
    (row,) = evonas.swap(model, layer).replaced
    assert says in " ".join(row.notes) and bool(says) == bool(row.notes)
    if getattr(norm, "momentum", 0.1) is None:
        assert "num_batches_tracked" in model[1].state_dict() and model[1].momentum is None


def test_a_layer_that_an_activation_follows_is_in_the_report() -> None:
    """As torchvision's networks have it with `norm_layer`, which put an activation of their own after it."""
    layer = evonas.norm_layer("bn-relu")
    report = evonas.swap(nn.Sequential(conv3(3, 4), layer(4), nn.ReLU(), conv3(4, 4), layer(4), conv3(4, 4)), "bn-relu")
    assert [row.name for row in report.norms] == ["1"] and "activates twice" in report.kept[0].reason


class Folds(nn.Module):
    """As ultralytics' models: `fuse` folds each BatchNorm into its convolution, and drops it."""

    class Conv(nn.Module):
        def __init__(self, channels: int, act: bool = True) -> None:
            super().__init__()
            self.conv, self.bn = conv3(channels, 4), nn.BatchNorm2d(4)
            self.act = nn.SiLU() if act else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.bn(self.conv(x)))

        def forward_fuse(self, x: Tensor) -> Tensor:
            return self.act(self.conv(x))

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = self.Conv(3), self.Conv(4, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))

    def fuse(self) -> Folds:
        for module in self.modules():
            if isinstance(module, Folds.Conv) and hasattr(module, "bn"):
                module.conv = torch.nn.utils.fuse_conv_bn_eval(module.conv, module.bn)
                delattr(module, "bn")
                module.forward = module.forward_fuse  # type: ignore[method-assign]  # as they do
        return self


def test_layers_are_left_out_of_folding() -> None:
    model = Folds().eval()
    evonas.swap(model, "bn-swish")
    x, names = torch.randn(2, 3, 8, 8), [name for name, _ in model.first.named_modules()]
    expected = copy.deepcopy(pickle.loads(pickle.dumps(model)))(x)
    assert model.fuse() is model
    assert not hasattr(model.second, "bn") and isinstance(model.first.bn, evonas.NormAct)
    assert [name for name, _ in model.first.named_modules()] == names
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)  # float32


def test_a_swapped_network_compiles() -> None:
    model, x = nn.Sequential(BasicBlock(3, 3)), torch.randn(2, 3, 8, 8)
    assert evonas.swap(model, "evonorm-s0", backend="reference").rewritten
    compiled = torch.compile(model.eval(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=1e-5)  # float32, another order of sums


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evonas.swap(nn.BatchNorm2d(3), "evonorm-s0"), "itself a normalisation"),
        (lambda: evonas.swap("resnet", "evonorm-s0"), "torch.nn.Module"),
        (lambda: evonas.swap(nn.Sequential(), "evonorm-s9"), "neither a published layer"),
        (lambda: evonas.swap(nn.Sequential(), "evonorm-s0", linear="drop"), "keep"),
        (lambda: evonas.swap(nn.Sequential(), "evonorm-s0", include=3), "include"),
        (lambda: evonas.swap(nn.Sequential(), "evonorm-s0", groups=-1), "groups"),
        (lambda: evonas.swap(nn.Sequential(), "evonorm-s0", activations=["Swish"]), "classes"),
        (lambda: evonas.swap(torch.compile(nn.Sequential(nn.ReLU())), "evonorm-s0"), "compiled"),
        (lambda: evonas.norm_layer("evonorm-s9"), "neither a published layer"),
        (lambda: evonas.norm_layer("evonorm-s0", colour=1), "colour"),
        (lambda: evonas.norm_layer("evonorm-s0")(8, drop_layer=nn.Dropout), "drop_layer"),
    ],
)
def test_bad_use_is_refused(call, message: str) -> None:
    with pytest.raises(evonas.UsageError, match=message):
        call()


class BatchNormAct(nn.Module):
    """A block like those of timm, which takes the class of its norm-act layer as an argument."""

    def __init__(self, norm_act) -> None:
        super().__init__()
        kwargs = {"act_layer": nn.SiLU, "inplace": True}
        self.conv, self.bn1 = conv3(3, 8), norm_act(8, **kwargs)
        self.project, self.bn2 = nn.Conv2d(8, 4, 1), norm_act(4, apply_act=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn2(self.project(self.bn1(self.conv(x))))


def test_the_factory_drops_into_constructors() -> None:
    import functools
    import types

    factory = evonas.norm_layer("evonorm-s0", groups=4)
    # timm asks this of what it is given.
    assert isinstance(factory, functools.partial)
    assert isinstance(factory.func, types.FunctionType)
    block = BatchNormAct(factory)
    assert (block.bn1.graph, block.bn1.groups) == (evonas.zoo["evonorm-s0"], 4)
    assert not block.bn2.graph.nodes
    block(torch.randn(2, 3, 8, 8)).sum().backward()
    # torchvision rebinds what it is given, and calls it with the channels alone.
    rebound = functools.partial(factory, eps=1e-3, momentum=0.01)(16)
    assert (rebound.channels, rebound.eps, rebound.momentum) == (16, 1e-3, 0.01)
    assert pickle.loads(pickle.dumps(factory))(8).graph == evonas.zoo["evonorm-s0"]
    assert (
        evonas.norm_layer("bn-relu")(8, apply_act=False).graph.key
        == evonas.NormAct("(x - mean_bwh(x)) / std_bwh(x)", 8).graph.key
    )


@pytest.mark.parametrize(
    "name",
    ["relu", "relu6", "leaky_relu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "hardswish", "softplus"],
)
def test_an_activation_is_found_as_a_function_of_pytorch(name: str) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return getattr(nn.functional, name)(self.norm(x))  # type: ignore[no-any-return]  # a function of torch

    model = nn.Sequential(nn.Conv2d(3, 4, 1), Block())
    evonas.swap(model, "evonorm-s0")
    assert isinstance(model[1].norm, evonas.NormAct)
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(model(x), model[1].norm(model[0](x)))  # the activation is gone with it


class JoinsSeveral(nn.Module):
    """As the roots of pytorchcv's DLA: a required argument is a sequence of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = conv3(12, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, x: Tensor, extra: list[Tensor]) -> Tensor:
        y = self.norm(self.conv(torch.cat((x, *tuple(extra)), dim=1)))
        return self.relu(y)


def test_a_forward_that_goes_through_a_sequence_is_followed() -> None:
    model = JoinsSeveral()
    values = [torch.randn(2, 4, 6, 6) for _ in range(3)]
    expected = copy.deepcopy(model)(values[0], values[1:])
    report = evonas.swap(model, "bn-relu")
    assert [(row.name, row.certain) for row in report.replaced] == [("norm", True)]
    torch.testing.assert_close(model(values[0], values[1:]), expected)


class GoesThrough(nn.Module):
    """Forwards in which what becomes of a value hangs on its place, or on how many there are."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.norm, self.norms, self.kind = nn.BatchNorm2d(4), nn.ModuleList(nn.BatchNorm2d(4) for _ in range(4)), kind

    def forward(self, xs: list[Tensor]) -> Tensor:
        return getattr(self, self.kind)(xs)

    def fuses(self, xs: list[Tensor]) -> Tensor:
        values = iter(xs)
        y = next(values)
        for x in values:
            y = self.norm(y + x)
        return F.relu(y)

    def counts(self, xs: list[Tensor]) -> Tensor:
        out = []
        for i, x in enumerate(xs):
            y = self.norm(x)
            out.append(F.relu(y) if i < 2 else y)
        return torch.stack(out)

    def first(self, xs: list[Tensor]) -> Tensor:
        values = iter(xs)
        y = self.norm(next(values))
        for x in values:
            y = F.relu(y) + x
        return y

    def skips(self, xs: list[Tensor]) -> Tensor:
        return torch.stack([F.relu(self.norm(x)) if i != 3 else self.norm(x) for i, x in enumerate(tuple(xs))])

    def last(self, xs: list[Tensor]) -> Tensor:
        return sum(F.relu(self.norm(x)) if i == 0 else self.norm(x) for i, x in enumerate(reversed(list(xs))))

    def measures(self, xs: list[Tensor]) -> Tensor:
        try:
            number = len(xs)
        except TypeError:
            number = 1
        return F.relu(self.norm(xs[0])) if number == 1 else self.norm(xs[0])

    def each(self, xs: list[Tensor]) -> Tensor:
        return torch.stack([F.relu(norm(x)) for norm, x in zip(self.norms, xs, strict=False)])

    def joins_few(self, xs: list[Tensor]) -> Tensor:
        values = tuple(xs)
        if len(values) == 1:
            return self.norm(values[0])
        return F.relu(self.norm(torch.cat(values)))


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["fuses", "counts", "first", "skips", "last", "measures", "each", "joins_few"])
def test_nothing_is_replaced_where_the_place_of_a_value_decides(kind: str, number: int) -> None:
    model = GoesThrough(kind)
    xs = [torch.randn(2, 4, 5, 5) for _ in range(number)]
    expected = copy.deepcopy(model)(xs)
    report = evonas.swap(model, "bn-relu", by_order=False)
    assert not report.replaced
    torch.testing.assert_close(model(xs), expected)


class ChecksItsInput(nn.Module):
    """As the embeddings of transformers: an error where the input does not fit, and nothing else by its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = conv3(3, 4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor, shift: float = 0.0) -> Tensor:
        channels = x.shape[1]
        if channels != 3 or x.dim() != 4:
            raise ValueError(f"three channels are wanted, not {channels}")
        return F.relu(self.norm(self.conv(x + shift)))


class Chooses(nn.Module):
    """What a forward does hangs on the shape of its input: it cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.other = conv3(3, 4), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        if x.shape[2] > 5:
            return F.relu(y)
        return y


def test_a_check_that_only_raises_is_no_obstacle_and_stays() -> None:
    model, x = nn.Sequential(ChecksItsInput(), conv3(4, 4)), torch.randn(2, 3, 6, 6)
    expected = model(x)
    report = evonas.swap(model, "bn-relu")
    assert [(row.name, row.certain) for row in report.replaced] == [("0.norm", True)]
    torch.testing.assert_close(model(x), expected)
    with pytest.raises(ValueError, match="three channels are wanted, not 4"):
        model(torch.randn(2, 4, 6, 6))
    assert not evonas.swap(nn.Sequential(Chooses()), "bn-relu", by_order=False).replaced


class NormAndGate(nn.GroupNorm):
    """As in the Bit of transformers, an activation under a name of its own; or something else of it."""

    def __init__(self, channels: int, twice: bool = False) -> None:
        super().__init__(2, channels)
        self.activation, self.twice = nn.SiLU(), twice

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps))
        return y + y if self.twice else y


def test_a_normalisation_that_ends_with_its_only_child_is_a_pair_by_what_it_computes() -> None:
    model = nn.Sequential(conv3(3, 4), NormAndGate(4), conv3(4, 4), NormAndGate(4, twice=True), conv3(4, 4))
    report = evonas.swap(model, "evonorm-s0")
    assert [(row.name, row.activation) for row in report.replaced] == [("1", "SiLU")]
    assert "has a forward of its own" in report.kept[0].reason
