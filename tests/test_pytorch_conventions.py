"""`NormAct` as a layer among PyTorch's: resetting, the meta device, averages, transforms, second derivatives."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations, prune

import evonas
from evonas import NormAct
from evonas.layers import backend_choice
from evonas.layers.backend import has_cpp, kernel_provider

BACKENDS = ["reference", "cpp"] if has_cpp() else ["reference"]


def _input(batch: int = 4, **kwargs: Any) -> Tensor:
    return torch.randn(batch, 6, 3, 5, generator=torch.Generator().manual_seed(batch), dtype=torch.float64, **kwargs)


def _used(layer: NormAct) -> NormAct:
    layer(_input())
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(1.5)
    return layer


@pytest.mark.parametrize("name", ["bn-relu", "evonorm-b0", "evonorm-s0"])
def test_resetting_gives_what_a_new_layer_has(name: str) -> None:
    layer, new = _used(NormAct(name, 6).double()), NormAct(name, 6).double()
    trained = copy.deepcopy(dict(layer.named_parameters()))
    layer.reset_running_stats()
    assert all(torch.equal(layer.get_buffer(n), buffer) for n, buffer in new.named_buffers())
    assert all(torch.equal(p, trained[n]) for n, p in layer.named_parameters())
    layer.reset_parameters()
    assert all(torch.equal(value, new.state_dict()[n]) for n, value in layer.state_dict().items())
    assert layer.num_features == 6


def test_from_the_meta_device() -> None:
    with torch.device("meta"):
        layer = NormAct("evonorm-b0", 6, momentum=None)
    assert all(t.is_meta for t in (*layer.parameters(), *layer.buffers()))
    layer.to_empty(device="cpu")
    layer.reset_parameters()
    new = NormAct("evonorm-b0", 6, momentum=None)
    assert all(torch.equal(value, new.state_dict()[n]) for n, value in layer.state_dict().items())


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_momentum_running_values_are_averages(backend: str) -> None:
    layer = NormAct("bn-relu", 6, momentum=None, backend=backend).double()
    norm = nn.BatchNorm2d(6, momentum=None).double()
    for batch in (4, 3, 5):
        layer(_input(batch)), norm(_input(batch))
    layer(_input(0))
    assert int(layer.get_buffer("num_batches_tracked")) == 3
    for name in ("running_mean", "running_var"):
        # An average in float64, and PyTorch's factor 1 / n in the same type.
        torch.testing.assert_close(layer.get_buffer(name), norm.get_buffer(name), rtol=1e-12, atol=1e-12)
    again = NormAct("bn-relu", 6, momentum=None, backend=backend).double()
    again.load_state_dict(layer.state_dict())
    layer(_input(2)), again(_input(2))
    assert torch.equal(layer.get_buffer("running_var"), again.get_buffer("running_var"))
    assert torch.equal(layer.eval()(_input()), again.eval()(_input()))


def test_numbers_of_numpy_are_numbers() -> None:
    layer = NormAct("evonorm-s0", np.int64(6), np.int32(3), np.float32(1e-3), np.float64(0.2))  # type: ignore[arg-type]
    assert (type(layer.channels), type(layer.groups), type(layer.eps)) == (int, int, float)
    assert layer.momentum == 0.2


@pytest.mark.parametrize("name", ["bn-relu", "evonorm-b0", "evonorm-s0", "ln-relu"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("by", ["Python", "C++"])
@pytest.mark.skipif(not has_cpp(), reason="needs a C++ compiler")
def test_kernels_have_second_derivatives(name: str, training: bool, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient penalty, as a training has it: the same in every gradient as by the reference."""
    if by == "Python":
        monkeypatch.setattr("evonas.kernels.cpp.run.calls", lambda: None)
    else:
        assert kernel_provider().build_calls() is None
    found = []
    for backend in ("reference", "cpp"):
        layer = _used(NormAct(name, 6, groups=2, backend="reference").double())
        layer.backend = backend
        layer._load_kernels()
        layer.train(training)
        x = _input().requires_grad_()
        (slope,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        loss = slope.square().sum() + layer(x).sum()
        found.append(torch.autograd.grad(loss, [x, *layer.parameters()], allow_unused=True))
    for expected, value in zip(*found, strict=True):
        assert (expected is None) == (value is None)
        if expected is not None:
            torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)  # two passes, each of which cancels


@pytest.mark.skipif(not has_cpp(), reason="needs a C++ compiler")
def test_third_derivatives_of_kernels() -> None:
    assert kernel_provider().build_calls() is None
    layer = NormAct("evonorm-s0", 4, groups=2, backend="cpp").double()
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))
    (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(second.square().sum(), x)
    assert third.isfinite().all() and third.abs().max() > 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["gn-relu", "evonorm-s0", "evonorm-b0", "dyt"])
def test_transforms_of_functions(name: str, training: bool, backend: str) -> None:
    """Per-sample gradients, a product with the Jacobian, forward-mode tangents and a Hessian."""
    layer = _used(NormAct(name, 6, groups=2, backend=backend).double()).train(training)
    x, tangent = _input(), _input(4).flip(0)
    with forward_ad.dual_level():
        tangents = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    step = 1e-6
    difference = (layer(x + step * tangent) - layer(x - step * tangent)) / (2 * step)
    torch.testing.assert_close(tangents, difference, rtol=1e-6, atol=1e-6)  # a central difference in float64
    if list(layer.buffers()) and training:  # as with nn.BatchNorm2d, whose running values torch.func refuses to change
        return
    if not list(layer.buffers()):  # as with nn.BatchNorm2d, a batch is not a sample
        parameters = dict(layer.named_parameters())

        def loss(given: dict[str, Tensor], sample: Tensor) -> Tensor:
            return torch.func.functional_call(layer, given, (sample[None],)).square().sum()

        each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
        for place in range(len(x)):
            alone = torch.autograd.grad(loss(parameters, x[place]), list(parameters.values()))
            for one, gradient in zip(each.values(), alone, strict=True):
                torch.testing.assert_close(one[place], gradient, rtol=1e-9, atol=1e-9)  # sums in another order
    small = _input(2)[:, :, :1, :2]
    product = torch.func.jvp(layer, (small,), (torch.ones_like(small),))[1]
    assert product.isfinite().all()
    hessian = torch.func.hessian(lambda z: layer(z).sum())(small)
    assert hessian.shape == (*small.shape, *small.shape) and hessian.isfinite().all()


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_parameters_that_something_else_holds(backend: str) -> None:
    x = _input()
    for change in (
        lambda layer: prune.l1_unstructured(layer, "weight", amount=2),
        lambda layer: parametrizations.weight_norm(layer, "weight"),
        lambda layer: nn.utils.weight_norm(layer, "v1", dim=None),
    ):
        layer = _used(NormAct("bn-relu", 6, backend=backend).double())
        expected = copy.deepcopy(layer)
        expected.backend = "reference"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weight_norm is deprecated
            change(expected), change(layer)
        layer._computed = 2**30  # so that auto uses kernels
        torch.testing.assert_close(layer(x), expected(x), rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not has_cpp(), reason="needs a C++ compiler")
def test_auto_goes_on_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """A compiler that has gone since the start stops no training: one warning, and the same values."""
    monkeypatch.setattr(backend_choice, "_given_up", [])
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    monkeypatch.setattr("evonas.kernels.cpp.build.subprocess.run", _gone)
    graph = "x * sigmoid(0 - v1 * x) / rms_whc(x * x + tanh(x))"  # which nothing has built before
    layer, x = NormAct(graph, 6).double(), _input()
    layer._computed = 2**30
    expected = NormAct(graph, 6, backend="reference").double()(x)
    with pytest.warns(UserWarning, match="layers are computed by PyTorch"):
        assert torch.equal(layer(x), expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(layer(x), expected)
    with pytest.raises(evonas.EvonasError):
        NormAct(graph, 6, backend="cpp").double()(x)


def _gone(*arguments: Any, **settings: Any) -> Any:
    raise FileNotFoundError(2, "No such file or directory", "g++")
