"""Swapping the norms of transformers: those that PyTorch has, and those that libraries write themselves."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import evonas
from evonas import NormAct
from evonas.errors import UsageError
from evonas.swapping.token_norms import token_norm

C = 12


class LlamaLike(nn.Module):
    """As libraries write it: in float32, with the name of a weight and an eps of their own."""

    def __init__(self, c: int = C, eps: float = 3e-6) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(c) + 0.5)
        self.variance_epsilon = eps

    def forward(self, hidden: Tensor) -> Tensor:
        wide = hidden.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.scale * wide.to(hidden.dtype)


class GemmaLike(LlamaLike):
    def forward(self, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden, (C,), eps=self.variance_epsilon) * (1.0 + self.scale)


class ChannelsFirst(nn.LayerNorm):
    """As ConvNeXt has it."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class NamelessEps(nn.Module):
    """Whose eps is in its code."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.rand(C) + 0.5)
        self.b = nn.Parameter(torch.rand(C))

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return self.g * x / (x.square().mean(-1, keepdim=True) + 2e-6).sqrt() + self.b


class Gated(LlamaLike):
    def forward(self, hidden: Tensor, gate: Tensor | None = None) -> Tensor:
        return super().forward(hidden)


class Scaled(LlamaLike):
    """No norm: it only scales."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden * self.scale


class Centred(LlamaLike):
    """No norm: it divides by the largest value."""

    def forward(self, hidden: Tensor) -> Tensor:
        return self.scale * hidden / hidden.abs().amax(-1, keepdim=True)


KNOWN = [
    (nn.LayerNorm(C), "LayerNorm", -1, 1e-5),
    (nn.LayerNorm(C, eps=1e-12, bias=False), "LayerNorm", -1, 1e-12),
    (nn.LayerNorm(C, elementwise_affine=False), "LayerNorm", -1, 1e-5),
    (nn.RMSNorm(C, eps=1e-3), "RMSNorm", -1, 1e-3),
    (LlamaLike(), "RMSNorm", -1, 3e-6),
    (GemmaLike(), "RMSNorm", -1, 3e-6),
    (ChannelsFirst(C, eps=1e-6), "LayerNorm", 1, 1e-6),
    (NamelessEps(), "LayerNorm", -1, 2e-6),
]
OTHERS = [
    nn.LayerNorm((3, C)),
    nn.BatchNorm1d(C),
    nn.Linear(C, C),
    nn.PReLU(C),
    nn.Identity(),
    Gated(),
    Scaled(),
    Centred(),
    NormAct("layernorm", C, dim=-1),
    nn.Sequential(nn.LayerNorm(C)),
]


def randomised(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for seed, parameter in enumerate(module.parameters()):
            source = torch.Generator().manual_seed(seed)
            parameter.copy_(torch.randn(parameter.shape, generator=source) * 0.3 + 0.7)
    return module


@pytest.mark.parametrize(("module", "kind", "dim", "eps"), KNOWN, ids=lambda one: type(one).__name__)
def test_a_norm_is_known_by_what_it_computes(module: nn.Module, kind: str, dim: int, eps: float) -> None:
    module = randomised(copy.deepcopy(module))
    before = copy.deepcopy(module.state_dict())
    found = token_norm(module)
    assert found is not None and (found.kind, found.channels, found.dim) == (kind, C, dim)
    # An eps that is only in the code is measured, from values that the module computes in its own way.
    assert found.eps == (
        eps if hasattr(module, "eps") or hasattr(module, "variance_epsilon") else pytest.approx(eps, 1e-3)
    )
    assert all(torch.equal(module.state_dict()[name], value) for name, value in before.items())


@pytest.mark.parametrize("module", OTHERS, ids=lambda one: type(one).__name__)
def test_what_is_no_norm_of_tokens(module: nn.Module) -> None:
    assert token_norm(module) is None


@pytest.mark.parametrize(("module", "kind", "dim", "eps"), KNOWN, ids=lambda one: type(one).__name__)
def test_the_same_norm_in_its_place_changes_nothing(module: nn.Module, kind: str, dim: int, eps: float) -> None:
    model = nn.Sequential(nn.Identity(), randomised(copy.deepcopy(module)))
    x = torch.randn((2, 5, C) if dim == -1 else (2, C, 3, 4), generator=torch.Generator().manual_seed(1))
    before = model(x)
    report = evonas.swap(model, tokens="layernorm" if kind == "LayerNorm" else "rmsnorm-c")
    assert [one.name for one in report.replaced] == ["1"] and isinstance(model[1], NormAct)
    assert (model[1](x) - before).abs().max() < 1e-6 * (1 + before.abs().max())
    assert f"{kind} of 12 channels" in str(report)
    assert ("it has a bias now" in str(report)) == (model[1].weight is not None and len(list(module.parameters())) == 1)


class Block(nn.Module):
    """A transformer's block, causal or not, with both kinds of norm of a library's own."""

    def __init__(self, is_causal: bool = False) -> None:
        super().__init__()
        self.is_causal = is_causal
        self.input_norm, self.output_norm = LlamaLike(), nn.LayerNorm(C)
        self.mix, self.up, self.down = nn.Linear(C, C), nn.Linear(C, 3 * C), nn.Linear(3 * C, C)

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.ones(x.shape[1], x.shape[1])
        weights = weights.tril() if self.is_causal else weights
        x = x + (weights / weights.sum(1, keepdim=True)) @ self.mix(self.input_norm(x))
        return x + self.down(F.gelu(self.up(self.output_norm(x))))


def test_a_network_of_transformers_trains_with_another_layer() -> None:
    model = nn.Sequential(Block(), Block())
    report = evonas.swap(model, tokens="derf")
    assert len(report.replaced) == 4 and not report.kept
    assert all(m.s1.item() == 0.5 for m in model.modules() if isinstance(m, NormAct))  # as the publication starts it
    x = torch.randn(4, 6, C)
    model(x).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_encoder_of_pytorch_calls_the_layer_in_evaluation_too() -> None:
    """Its fast path would compute LayerNorm from the layer's weights."""
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(C, 4, 24, dropout=0.0, batch_first=True), 2)
    evonas.swap(encoder, tokens="derf")
    x = torch.randn(2, 5, C)
    trained = encoder.train()(x)
    with torch.no_grad():
        torch.testing.assert_close(encoder.eval()(x), trained)


def test_patterns_choose_among_norms_of_tokens() -> None:
    model = nn.Sequential(Block(), Block())
    report = evonas.swap(model, tokens="rmsnorm-c", include="0.*", exclude="*.output_norm")
    assert [one.name for one in report.replaced] == ["0.input_norm"]
    with pytest.raises(UsageError, match=r"no normalisation of the model matches '2\.\*'; it has 0\."):
        evonas.swap(model, tokens="rmsnorm-c", include="2.*")


def test_both_kinds_of_layers_in_one_call() -> None:
    model = nn.Sequential(
        nn.Conv1d(3, C, 1), nn.BatchNorm1d(C), nn.ReLU(), nn.Flatten(0, 0), nn.Linear(5, C), nn.LayerNorm(C)
    )
    report = evonas.swap(model, "evonorm-s0", tokens="dyt")
    assert {one.name: one.activation for one in report.replaced} == {"1": "ReLU", "5": ""}
    assert "; of tokens tanh(s1 * x)" in report.layer and model(torch.randn(2, 3, 5)).shape == (2, C, C)


def test_without_tokens_norms_of_tokens_stay_and_the_report_says_how_to_replace_them() -> None:
    model = nn.Sequential(nn.Conv1d(3, C, 1), nn.BatchNorm1d(C), nn.ReLU(), nn.Linear(5, C), nn.LayerNorm(C))
    report = evonas.swap(model, "evonorm-s0")
    assert [one.name for one in report.kept] == ["4"] and "tokens= replaces those of transformers" in str(report)
    with pytest.raises(UsageError, match="swap needs a layer: for normalisations of channels, or for those of transf"):
        evonas.swap(model)


@pytest.mark.parametrize("text", ["evonorm-s0", "x / rms_wh(x)", "bn-relu"])
def test_a_causal_model_refuses_what_mixes_positions(text: str) -> None:
    model = nn.Sequential(Block(is_causal=True))
    with pytest.raises(UsageError, match="takes statistics over positions, through which a token of this causal model"):
        evonas.swap(model, tokens=text)
    assert isinstance(model[0].input_norm, LlamaLike)  # nothing was changed
    with pytest.warns(UserWarning, match="tokens depend on one another through it"):
        evonas.swap(model, tokens=text, causal=False)
    with pytest.raises(UsageError, match="causal model"), warnings.catch_warnings():
        evonas.swap(nn.Sequential(Block()), tokens=text, causal=True)


def test_no_token_of_a_causal_model_sees_later_ones_after_a_swap() -> None:
    model = nn.Sequential(Block(is_causal=True), Block(is_causal=True))
    evonas.swap(model, tokens="x * sigmoid(s1 * x) / rms_cg(x)", groups=3)
    x = torch.randn(2, 6, C)
    later = x.clone()
    later[:, -1] += 1.0
    assert torch.equal(model(x)[:, :-1], model(later)[:, :-1])


def test_dtype_mode_and_hooks_are_those_of_the_norm() -> None:
    model = nn.Sequential(nn.LayerNorm(C)).to(torch.bfloat16).eval()
    evonas.swap(model, tokens="layernorm")
    assert model[0].weight.dtype == torch.bfloat16 and not model[0].training
    assert model(torch.randn(2, C, dtype=torch.bfloat16)).dtype == torch.bfloat16
