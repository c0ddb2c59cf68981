"""Transformers as anchors: published sizes, where norms stand, and what training and filters make of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import anchor_named, build_anchor
from evonas.workers.anchors.transformer import Attention, BlocksConfig, Placement, Residual, waves
from evonas.workers.anchors.vit import VIT_SMALL, grid_waves
from evonas.workers.data.digits import load_digits
from evonas.workers.trial.adamp import AdamP
from evonas.workers.trial.signal_propagation import measure_signal
from evonas.workers.trial.stability import GradientAscent
from evonas.workers.trial.training import Training, lr_at, optimizer_of
from evonas.workers.trial.weights import judged_weights
from tests.test_anchors import BatchNormRelu

LAYERNORM = LayerFactory.of("layernorm")


# 5.7 M and 22 M (Touvron et al. 2021, table 1); to the last parameter those of timm's deit_tiny and deit_small.
@pytest.mark.parametrize(("name", "parameters"), [("vit-tiny-16", 5_717_416), ("vit-small-16", 22_050_664)])
def test_published_sizes(name: str, parameters: int) -> None:
    model = build_anchor(name, LAYERNORM, in_channels=3, classes=1000)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


NORMS = {"pre": 9, "post": 8, "megatron": 10, "peri": 18, "mix": 9, "scaled": 9}
"""Norms of a ViT with four blocks: two in each, or four, and those of the embeddings and at the end."""


@pytest.mark.parametrize("placement", NORMS)
@pytest.mark.parametrize("qk", ["", "+qk"])
def test_placements(placement: str, qk: str) -> None:
    layer = BatchNormRelu()
    model = build_anchor(f"vit-small:{placement}{qk}", layer, in_channels=1, classes=10)
    assert layer.norms.count(48) == NORMS[placement] and layer.norms.count(12) == 8 * bool(qk) and not layer.norm_acts
    uses: list[nn.Module] = []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_hook(lambda module, *_: uses.append(module))
    logits = model(torch.randn(2, 1, 16, 16))
    logits.square().sum().backward()
    assert len(uses) == len(set(uses)) == len(layer.norms)  # each is used once
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


class Recorder(nn.Module):
    """A norm that triples, so that where it stands can be read off what comes out."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * x


class Triples:
    def tokens(self, channels: int) -> nn.Module:
        return Recorder()


@pytest.mark.parametrize(
    ("placement", "expected"),
    [
        # The inner maps return what they read, so a sub-layer makes of x …
        (Placement.PRE, 4.0),  # … x + 3x,
        (Placement.POST, 6.0),  # 3 (x + x),
        (Placement.MEGATRON, 4.0),
        (Placement.PERI, 10.0),  # x + 3 · 3x,
        (Placement.SCALED, 1 + 3 / math.sqrt(2)),  # or x + 3x / √2, in the second block.
    ],
)
def test_a_sub_layer_by_hand(placement: Placement, expected: float) -> None:

    config = BlocksConfig(4, 8, 1, placement=placement)
    x = torch.tensor([[[1.0, -2.0]]])
    torch.testing.assert_close(Residual(nn.Identity(), 2, config, Triples())(x), expected * x)


def test_mix_is_post_in_the_first_quarter() -> None:

    config = BlocksConfig(4, 8, 1, placement=Placement.MIX)
    kinds = [Residual(nn.Identity(), number, config, Triples()).is_post for number in range(1, 9)]
    assert kinds == [True] * 2 + [False] * 6


def test_attention_sees_what_it_may() -> None:
    torch.manual_seed(0)
    config, x = BlocksConfig(8, 1, 2), torch.randn(1, 5, 8)
    later = x.clone()
    later[0, 3] += 1.0
    for causal in (True, False):
        attention = Attention(config, LAYERNORM, causal)
        moved = (attention(x) - attention(later)).abs().amax(2)[0] > 1e-6
        assert moved.tolist() == [not causal] * 3 + [True] * 2


def test_attention_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    attention, x = Attention(BlocksConfig(6, 1, 2, qk_norm=True), LAYERNORM, False), torch.randn(2, 4, 6)
    q, k, v = attention.inputs(x).chunk(3, dim=2)
    heads = []
    for rows in (slice(0, 3), slice(3, 6)):
        one, other = (nn.functional.layer_norm(t[..., rows], (3,)) for t in (q, k))
        heads.append(torch.softmax(one @ other.mT / math.sqrt(3), 2) @ v[..., rows])
    torch.testing.assert_close(attention(x), attention.output(torch.cat(heads, 2)), rtol=1e-5, atol=1e-6)


def test_positions_differ_and_fit_any_image() -> None:
    one = waves(torch.arange(3.0), 4)
    rates = torch.tensor([1.0, 1e-2])
    for place in range(3):
        torch.testing.assert_close(one[place], torch.cat([(place * rates).sin(), (place * rates).cos()]))
    grid = grid_waves(3, 5, 10, torch.zeros(1))
    assert grid.shape == (15, 10) and len({tuple(row.tolist()) for row in grid}) == 15 and not grid[:, 8:].any()
    model = build_anchor("vit-small", LAYERNORM, in_channels=2, classes=3)
    for shape in ((2, 2, 12, 12), (1, 2, 17, 9), (1, 2, 4, 4)):
        assert model(torch.randn(shape)).shape == (shape[0], 3)


def test_names() -> None:
    row = anchor_named("vit-small:post+qk@2")
    assert row.name == "vit-small:post+qk@2" and row.config.blocks == replace(
        VIT_SMALL.blocks, placement=Placement.POST, qk_norm=True, width_multiplier=2.0
    )
    assert row.config.blocks.channels == 96 and anchor_named("vit-small@0.3").config.blocks.channels == 16
    with pytest.raises(UsageError, match=r"placement.*'pots'.*post"):
        anchor_named("vit-small:pots")
    with pytest.raises(UsageError, match="only transformers say where norms stand; vgg-small is none"):
        anchor_named("vgg-small:post")
    with pytest.raises(UsageError, match="anchor"):
        anchor_named("vit-small+kq")


ADAMW = EvaluationProtocol(
    anchors=("vit-small",), optimizer="adamw", lr=0.003, weight_decay=0.05, warmup=10, clip=1.0, steps=60, batch=32
)


def test_it_learns_and_repeats_itself() -> None:
    data, found = load_digits(), []
    for _ in range(2):
        training = Training("vit-small", LAYERNORM, data, replace(ADAMW, steps=150, batch=64))
        assert training.advance(150)
        found.append([p.detach().clone() for p in training.model.parameters()])
    assert training.accuracy("validation") > 0.3  # chance is 0.1
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_adamw_shrinks_matrices_alone() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    optimizer = optimizer_of(ADAMW, model)
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    for p, was in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(p.detach(), was * (1 - ADAMW.lr * ADAMW.weight_decay) if p.dim() > 1 else was)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def adamp_by_hand(weight: Any, gradients: list[Any], decay: float) -> Any:
    """Algorithm 2 of Heo et al. 2021 in NumPy, for a matrix or a vector."""
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, g in enumerate(gradients, 1):
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        share = 1.0
        for axis in (1, None) if weight.ndim > 1 else ():
            along = {"axis": axis, "keepdims": True}
            length = np.sqrt((weight**2).sum(**along))
            cosine = np.abs((weight * g).sum(**along)) / (length * np.sqrt((g**2).sum(**along)) + 1e-8)
            if cosine.max() < 0.1 / np.sqrt(weight.size if axis is None else weight.shape[1]):
                unit = weight / (length + 1e-8)
                move, share = move - unit * (unit * move).sum(**along), 0.1
                break
        weight = weight * (1 - 0.01 * decay * share) - 0.01 * move
    return weight


@pytest.mark.parametrize("kind", ["any", "rows", "whole", "vector"])
def test_adamp_is_that_of_the_paper(kind: str) -> None:
    """With gradients at right angles to each row of a weight, to the weight as a whole, or to nothing."""
    random = np.random.default_rng(0)
    start = random.normal(size=(3, 5)) if kind != "vector" else random.normal(size=5)
    weight = nn.Parameter(torch.tensor(start))
    optimizer, gradients, projected = AdamP([weight], lr=0.01, weight_decay=0.5), [], 0
    for _ in range(5):
        now, g = weight.detach().numpy().copy(), random.normal(size=start.shape)
        axis = {"rows": 1, "whole": None}.get(kind, "none")
        if axis != "none":
            g -= now * (now * g).sum(axis=axis, keepdims=True) / (now**2).sum(axis=axis, keepdims=True)
        gradients.append(g)
        weight.grad = torch.tensor(g)
        optimizer.step()
        projected += abs(np.linalg.norm(weight.detach()) / np.linalg.norm(now) - (1 - 0.01 * 0.05)) < 1e-3
    np.testing.assert_allclose(weight.detach(), adamp_by_hand(start, gradients, 0.5), rtol=1e-10)
    assert projected == 5 or kind in ("any", "vector")  # the length is what the smaller decay leaves


def test_adamp_trains() -> None:
    training = Training("vit-small", LAYERNORM, load_digits(), replace(ADAMW, optimizer="adamp", steps=80, batch=64))
    assert isinstance(optimizer_of(training.protocol, training.model), AdamP)
    assert training.advance(80) and training.losses[-1] < 0.95 * training.losses[0]


def test_the_warm_up_rises_to_the_schedule() -> None:
    rates = [lr_at(replace(ADAMW, schedule="constant"), step) for step in range(12)]
    assert rates == pytest.approx([0.0003 * n for n in range(1, 11)] + [0.003] * 2)
    assert lr_at(ADAMW, 40) == lr_at(replace(ADAMW, warmup=0), 40)


def test_a_long_gradient_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []

    def step(self: torch.optim.SGD) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))))

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    for clip in (None, 0.01):
        Training("resnet-small", LayerFactory.of("bn-relu"), load_digits(), EvaluationProtocol(clip=clip)).advance(1)
    assert norms[0] > 0.02 and norms[1] == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("anchor", ["vit-small", "vit-small:post+qk"])
def test_filters_judge_transformers(anchor: str) -> None:
    """Under LayerNorm both pass; without any norm the ascent finds that gradients explode."""
    training = Training(anchor, LAYERNORM, load_digits(), replace(ADAMW, anchors=(anchor,)))
    images, labels = training.batch(0)
    weights = judged_weights(training.model)
    assert len(weights) == 1 + 4 * 4 and weights[0].dim() == 4  # patches, and four maps in each block
    signal = measure_signal(training.model, images, labels)
    assert signal.finite and -1 < signal.scale < 1 and -3 < signal.gradient < 1
    ascent = GradientAscent(training.model, images, labels, 1.0, 1e8)
    assert ascent.advance(5) and len(ascent.norms) == 6
    bare = Training(anchor.partition("+")[0], LayerFactory.of("x"), load_digits(), ADAMW)
    assert not GradientAscent(bare.model, images, labels, 1.0, 1e8).advance(20)


def test_embeddings_and_what_is_not_trained_are_not_judged() -> None:
    network = build_anchor("vit-tiny-16@0.25", LAYERNORM, in_channels=1, classes=3)
    assert [w.dim() for w in judged_weights(network)] == [4] + [2] * 48
    signal = measure_signal(network, torch.randn(2, 1, 224, 224), torch.tensor([0, 1]))
    assert signal.finite and -0.5 < signal.balance < 3.5

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.ones(4, 4), requires_grad=False)
            self.unused, self.one, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(torch.tanh(self.one(x.flatten(1) @ self.table)))
            return out

    images, labels = torch.randn(6, 1, 2, 2), torch.arange(6) % 3
    assert measure_signal(Own(), images, labels).finite
    assert GradientAscent(Own(), images, labels, 0.1, 1e8).advance(3)


def test_a_network_without_convolutions_is_judged_by_its_other_weights() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    assert [w.shape for w in judged_weights(network)] == [(8, 4)]
    assert [w.shape for w in judged_weights(nn.Sequential(nn.Linear(8, 3)))] == [(3, 8)]
    with_gate = build_anchor("efficientnet-small", BatchNormRelu(), in_channels=1, classes=3)
    assert all(w.dim() == 4 for w in judged_weights(with_gate))
    signal = measure_signal(network, torch.randn(6, 1, 2, 2), torch.arange(6) % 3)
    assert signal.finite


def test_settings_out_of_range() -> None:
    for bad, said in (({"optimizer": "adam"}, "adamp"), ({"clip": 0.0}, "clip"), ({"warmup": -1}, "warmup")):
        with pytest.raises(UsageError, match=said):
            EvaluationProtocol(**bad)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("settings", [{"optimizer": "sgd", "clip": 0.1}, {"optimizer": "adamw"}])
def test_the_parameters_of_layers_can_be_trained_alone(settings: dict[str, Any]) -> None:
    protocol = EvaluationProtocol(anchors=("resnet-small",), train="affine", steps=3, **settings)
    training = Training("resnet-small", LayerFactory.published("evonorm-s0"), load_digits(), protocol)
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    layers = {id(p) for m in training.model.modules() if isinstance(m, NormAct) for p in m.parameters()}
    assert training.advance(3)
    changed = {name for name, p in training.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {name for name, p in training.model.named_parameters() if id(p) in layers}
    with pytest.raises(UsageError, match="no layer with any"):
        optimizer_of(protocol, nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(UsageError, match="train"):
        EvaluationProtocol(train="head")  # type: ignore[arg-type]
