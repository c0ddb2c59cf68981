"""Inputs of rank 2 to 5: values as PyTorch's own layers of each rank give them, by every backend, in their layout."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evonas import Graph, NormAct
from evonas.kernels.export.torch_source import to_torch
from evonas.language.zoo import zoo
from evonas.layers.backend import has_cpp

POSITIONS = [(), (7,), (1,), (3, 5), (2, 3, 4), (1, 1, 1)]
SAME = {"rtol": 1e-12, "atol": 1e-12}
"""float64 sums of a few dozen values in another order."""


def _input(positions: tuple[int, ...], channels: int = 6, batch: int = 4) -> Tensor:
    torch.manual_seed(len(positions))
    return torch.randn(batch, channels, *positions, dtype=torch.float64, requires_grad=True)


def _randomised(layer: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return layer


def _of_torch(name: str, rank: int, channels: int) -> nn.Module:
    at = {2: 0, 3: 0, 4: 1, 5: 2}[rank]
    kind: Any = {
        "bn-relu": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[at],
        "in-relu": (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[at],
    }.get(name)
    if name == "gn-relu":
        return nn.GroupNorm(2, channels).double()
    if name == "ln-relu":
        return nn.GroupNorm(1, channels).double()
    return kind(channels, **({"affine": True} if name == "in-relu" else {})).double()


def _results(call: Any, layer: nn.Module, x: Tensor) -> list[Tensor]:
    y = call(x)
    torch.manual_seed(5)
    names = ("weight", "bias", "v0", "v1")
    given = [p for name in names if (p := getattr(layer, name, None)) is not None]
    return [y, *torch.autograd.grad(y, [x, *given], torch.randn_like(y.detach().contiguous()), allow_unused=True)]


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("name", ["bn-relu", "gn-relu", "ln-relu", "in-relu"])
def test_values_and_gradients_are_those_of_pytorch_s_layers(name: str, positions: tuple[int, ...]) -> None:
    x = _input(positions)
    if name == "in-relu" and x[0, 0].numel() == 1:
        pytest.skip("PyTorch refuses to normalise a single value")
    # The published layers shift and scale by v0 and v1 before the ReLU, as PyTorch's do by bias and weight.
    torch_layer = _randomised(_of_torch(name, x.dim(), 6))
    layer = NormAct(name, 6, groups=2, backend="reference").double()
    with torch.no_grad():
        assert layer.v0 is not None and layer.v1 is not None
        layer.v0.copy_(torch_layer.bias)  # type: ignore[arg-type]
        layer.v1.copy_(torch_layer.weight)  # type: ignore[arg-type]
    for mode in (True, False):
        layer.train(mode), torch_layer.train(mode)
        ours = layer(x)
        theirs = torch_layer(x).relu()
        torch.testing.assert_close(ours, theirs, **SAME)
        torch.manual_seed(5)
        dy = torch.randn_like(theirs)
        own = torch.autograd.grad(ours, [x, layer.v1, layer.v0], dy)
        expected = torch.autograd.grad(theirs, [x, torch_layer.weight, torch_layer.bias], dy)  # type: ignore[list-item]
        for a, b in zip(own, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)  # sums of products of these
    for buffer in ("running_mean", "running_var"):
        if name == "bn-relu":
            torch.testing.assert_close(layer.get_buffer(buffer), torch_layer.get_buffer(buffer), **SAME)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
@pytest.mark.parametrize("name", sorted(zoo))
@pytest.mark.skipif(not has_cpp(), reason="needs a C++ compiler")
def test_kernels_and_exported_classes_take_every_rank(name: str, positions: tuple[int, ...]) -> None:
    x = _input(positions)
    namespace: dict[str, Any] = {"__name__": "exported"}
    exec(to_torch(zoo[name], "Layer"), namespace)
    layers = [NormAct(name, 6, groups=2, backend=b) for b in ("reference", "cpp")] + [namespace["Layer"](6, groups=2)]
    first = copy.deepcopy(_randomised(layers[0].double()).state_dict())
    found = []
    for layer in layers:
        layer.double().load_state_dict(first)
        found.append([*_results(layer, layer, x), *(b.clone() for b in layer.buffers())])
        layer.eval()
        found[-1] += _results(layer, layer, x)
    for other in found[1:]:
        for expected, value in zip(found[0], other, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)  # gradients cancel to a few digits


def test_any_rank_is_that_of_its_planes() -> None:
    """Positions are one plane in their order; also for graphs that mix all four index sets."""
    graph = Graph.parse("x * sigmoid(v1 * x) / std_wh(x) + mean_whc(x) * rms_bwh(x) - std_whcg(x)")
    for positions in POSITIONS:
        x, layers = _input(positions).detach(), [NormAct(graph, 6, groups=3).double() for _ in range(2)]
        y = layers[0](x)
        assert y.shape == x.shape
        torch.testing.assert_close(y.reshape(4, 6, -1, 1), layers[1](x.reshape(4, 6, -1, 1)), **SAME)


@pytest.mark.parametrize("backend", ["reference", "cpp"] if has_cpp() else ["reference"])
def test_the_layout_of_the_input_is_that_of_the_output(backend: str) -> None:
    layer = NormAct("evonorm-s0", 6, groups=2, backend=backend).double()
    sequence = _input((7,)).detach().transpose(1, 2).contiguous().transpose(1, 2)
    volume = _input((2, 3, 4)).detach().contiguous(memory_format=torch.channels_last_3d)
    for x in (sequence, volume, _input((2, 3, 4)).detach(), _input(()).detach()):
        y = layer(x)
        assert y.stride() == x.stride()
        torch.testing.assert_close(y, layer(x.contiguous()), **SAME)
    every_other = _input((14,)).detach()[:, :, ::2]
    torch.testing.assert_close(layer(every_other), layer(every_other.contiguous()), **SAME)


@pytest.mark.parametrize("positions", POSITIONS, ids=str)
def test_an_empty_batch_of_any_rank(positions: tuple[int, ...]) -> None:
    layer = NormAct("bn-relu", 6).double()
    before = copy.deepcopy(layer.state_dict())
    assert layer(_input(positions, batch=0)).shape == (0, 6, *positions)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
