"""Transformers that read text, and the one that finds noise: published sizes, what they see, and that they learn."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.modules.module_factory import ModuleFactory
from evonas.layers.modules.module_names import MODULES
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import anchor_named, build_anchor, check_runs
from evonas.workers.anchors.goals import GOALS, IGNORED
from evonas.workers.anchors.own_draws import OwnDraws
from evonas.workers.anchors.transformer import turned
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.trial.network_filters import SIGNAL_LIMITS
from evonas.workers.trial.signal_propagation import measure_signal, signal_fault
from evonas.workers.trial.stability import GradientAscent
from evonas.workers.trial.training import Training

LAYERNORM = LayerFactory.of("layernorm")
NEW = ("gpt-small", "encoder-small", "dit-small")


def trained(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_published_sizes() -> None:
    """GPT-2 to the last parameter of the released one; DiT-S/2 without its classes and its learned variance."""
    model = build_anchor("gpt2", LAYERNORM, in_channels=1, classes=50_257)
    assert trained(model) == 124_439_808
    assert model(torch.zeros(1, 1, 1, 6)).found.shape == (1, 5, 50_257)
    with pytest.raises(UsageError, match="windows of 1025 tokens are longer than this network's 1024"):
        model(torch.zeros(1, 1, 1, 1026))
    # The released code of DiT prints 675,129,632 for DiT-XL/2, positions included, which are not trained.
    assert published_dit(1152, 28) == 675_129_632
    model, c = build_anchor("dit-small-2", LAYERNORM, in_channels=4, classes=1000), 384
    left_out = 1001 * c + 256 * c + 16 * (c + 1)  # a table of classes, positions, and the outputs for a variance
    assert trained(model) == published_dit(c, 12) - left_out == 32_474_512


def published_dit(c: int, depth: int) -> int:
    """The parameters of a DiT with patches of 2×2 for latent images of 32×32 with 4 channels."""
    block = (c * 3 * c + 3 * c) + (c * c + c) + (c * 4 * c + 4 * c) + (4 * c * c + c) + (c * 6 * c + 6 * c)
    ends = (16 * c + c) + (256 * c + c + c * c + c) + 1001 * c + 256 * c + (c * 2 * c + 2 * c) + (c * 32 + 32)
    return depth * block + ends


def windows(count: int, tokens: int = 9, length: int = 12) -> Tensor:
    return torch.randint(tokens, (count, 1, 1, length + 1), generator=torch.Generator().manual_seed(0)).float()


def test_a_causal_network_does_not_see_the_future() -> None:
    model = build_anchor("gpt-small", LAYERNORM, in_channels=1, classes=9).eval()
    x = windows(2)
    later = x.clone()
    later[..., 6] = (later[..., 6] + 1) % 9
    one, other = model(x), model(later)
    moved = (one.found - other.found).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False] * 6 + [True] * 6
    assert torch.equal(one.wanted, x.flatten(1)[:, 1:].long())


@pytest.mark.parametrize("layer", ["bn-relu", "evonorm-s0", "ln-relu"])
def test_a_causal_network_refuses_what_mixes_positions(layer: str) -> None:
    with pytest.raises(UsageError, match=r"a causal network cannot have the layer .*later ones"):
        build_anchor("gpt-small", LayerFactory.of(layer), in_channels=1, classes=9)
    build_anchor("encoder-small", LayerFactory.of(layer), in_channels=1, classes=9)


@pytest.mark.parametrize("layer", MODULES)
def test_a_causal_network_refuses_modules_that_do(layer: str) -> None:
    with pytest.raises(UsageError, match=r"cannot have the layer (PowerNorm|UnifiedNorm|PRepBN|BatchCh|InstanceB)"):
        build_anchor("gpt-small", ModuleFactory(layer), in_channels=1, classes=9)
    model = build_anchor("encoder-small", ModuleFactory(layer), in_channels=1, classes=9)
    assert torch.isfinite(model(windows(2)).found).all()


def test_an_encoder_is_asked_for_what_is_masked() -> None:
    model = build_anchor("encoder-small", LAYERNORM, in_channels=1, classes=9)
    seen: list[Tensor] = []
    model.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))  # type: ignore[union-attr]
    x = windows(3, length=20)
    found = [model(x), model(x), model.eval()(x), model(x)]
    tokens = x.flatten(1)[:, :-1].long()
    for one, read in zip(found, seen, strict=True):
        masked = one.wanted != IGNORED
        assert masked.sum(1).tolist() == [3] * 3  # 15% of 20
        assert torch.equal(one.wanted[masked], tokens[masked]) and bool((read[masked] == 9).all())
        assert torch.equal(read[~masked], tokens[~masked])
    masks = [one.wanted != IGNORED for one in found]
    assert not torch.equal(masks[0], masks[1]) and torch.equal(masks[2], masks[3])


def test_own_draws_depend_on_the_number_of_calls_alone() -> None:
    def draw(draws: OwnDraws) -> float:
        torch.rand(())  # what others draw makes no difference
        return float(torch.rand((), generator=draws()))

    one, other = OwnDraws(), OwnDraws()
    first = [draw(one) for _ in range(3)]
    assert len(set(first)) == 3 and [draw(other) for _ in range(3)] == first
    assert draw(copy.deepcopy(one)) == draw(one)  # a filter's copy of a network goes on from where it is
    assert len({draw(one.eval()) for _ in range(2)}) == 1


def test_positions_turn_queries_and_keys() -> None:
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    pairs = torch.complex(x[..., :3], x[..., 3:])
    rates = 1e-4 ** (torch.arange(3, dtype=torch.float64) / 3)
    expected = pairs * torch.exp(1j * torch.arange(7, dtype=torch.float64)[:, None] * rates)
    # The angles are computed in float32.
    torch.testing.assert_close(turned(x), torch.cat([expected.real, expected.imag], -1), rtol=1e-6, atol=1e-6)
    q, k = (torch.randn(6).expand(1, 7, 6) for _ in range(2))
    products = turned(q) @ turned(k).mT
    for distance in range(7):  # what a query finds in a key depends on how far they are apart
        on_diagonal = products[0].diagonal(distance)
        torch.testing.assert_close(on_diagonal, on_diagonal[:1].expand_as(on_diagonal), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 9, 6), (0, 3, 8, 8)])
def test_noise_is_that_of_whole_patches(shape: tuple[int, int, int, int]) -> None:
    model = build_anchor("dit-small", LAYERNORM, in_channels=3, classes=5)
    found = model(torch.randn(shape))
    size = [side // 4 * 4 for side in shape[2:]]
    assert found.found.shape == found.wanted.shape == (shape[0], 3, *size)
    assert torch.isfinite(found.found).all()


def test_what_is_noisy_is_the_share_of_the_image_and_of_the_noise() -> None:
    model = build_anchor("dit-small", LAYERNORM, in_channels=1, classes=5)
    seen: list[tuple[Tensor, Tensor]] = []

    def note(noisy: Tensor, times: Tensor) -> Tensor:
        seen.append((noisy, times))
        return torch.zeros_like(noisy)

    model.noise_in = note  # type: ignore[assignment]  # on purpose
    clean = torch.randn(64, 1, 8, 8)
    noise = model(clean).wanted
    ((noisy, times),) = seen
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    kept = torch.stack([(1 - betas[: time + 1]).prod() for time in times]).view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy.double(), kept.sqrt() * clean + (1 - kept).sqrt() * noise, rtol=1e-4, atol=1e-4)
    assert len(times.unique()) > 50 and abs(float(noise.mean())) < 0.1 and 0.9 < float(noise.var()) < 1.1


def test_a_modulated_layer_has_no_scale_of_its_own() -> None:
    model = build_anchor("dit-small", LayerFactory.of("dyt"), in_channels=1, classes=5)
    fixed = {name.rpartition(".")[2] for name, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {"weight", "bias"}
    assert all(p.requires_grad for name, p in model.named_parameters() if name.endswith("s1"))
    with pytest.raises(UsageError, match="leave out the placement"):
        build_anchor("dit-small:post", LAYERNORM, in_channels=1, classes=5)


def test_names_and_what_they_say() -> None:
    assert anchor_named("gpt-small@2").config.blocks.channels == 96
    assert anchor_named("gpt-small@0.1").config.blocks.channels == 6  # heads of two channels, which can be turned
    assert anchor_named("encoder-small:pre+qk").config.blocks.qk_norm
    rows = [anchor_named(name) for name in ("gpt-small", "encoder-small:mix", "dit-small", "vit-small", "vgg-small")]
    assert [row.reads for row in rows] == ["text", "text", "images", "images", "images"]
    assert [row.causal for row in rows] == [True, False, False, False, False]
    assert [row.is_transformer for row in rows] == [True] * 4 + [False]
    assert [row.goal for row in rows] == [GOALS[name] for name in ("tokens", "tokens", "noise", "classes", "classes")]
    for name in ("gpt-small+sigma", "encoder-deep", "gpt-deep", "dit-small+qk"):
        check_runs(name, 1, (1, 17) if "dit" not in name else (8, 8), 9)


PROTOCOL = EvaluationProtocol(
    data="digits+text", optimizer="adamw", lr=0.01, weight_decay=0.05, warmup=10, clip=1.0, steps=120, batch=32
)


@pytest.mark.parametrize("anchor", NEW)
def test_they_learn_repeat_themselves_and_pass_the_filters(anchor: str) -> None:
    data, protocol, found = load_dataset("digits+text"), replace(PROTOCOL, anchors=(anchor,)), []
    for _ in range(2):
        training = Training(anchor, LAYERNORM, data, protocol)
        images, labels = training.batch(0)
        if not found:
            assert signal_fault(measure_signal(training.model, images, labels), SIGNAL_LIMITS) is None
            ascent = GradientAscent(training.model, images[:8], labels[:8], 1.0, 1e8)
            assert ascent.advance(2) and len(ascent.norms) == 3
        assert training.advance(40)
        found.append([p.detach().clone() for p in training.model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert training.advance(120)
    chance = training.goal.chance(training.data.validation)
    accuracy = training.accuracy("validation")
    assert accuracy == training.accuracy("validation") > chance + 0.003
    assert training.losses[0] > training.losses[-1] and 0 < training.train_accuracy() < 1


def test_a_training_that_diverges_scores_nothing() -> None:
    training = Training("gpt-small", LayerFactory.of("exp(square(x))"), load_dataset("text"), PROTOCOL)
    assert not training.advance(5) and training.diverged
    assert training.accuracy("validation", limit=4) == 0.0
