"""Normalised weights, as an option of any anchor, against their formulas written out."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.plugins import load_named_files
from evonas.workers.anchors import anchor_named, build_anchor, plain_name
from evonas.workers.anchors.reparametrised import OPTIONS, reparametrise, trained_weight
from evonas.workers.trial.weights import judged_weights

NAMES = ("resnet-small", "mobilenet-small", "vit-small:post+qk")


def built(name: str) -> nn.Module:
    torch.manual_seed(3)
    return build_anchor(name, LayerFactory.published("bn-relu"), in_channels=3, classes=5)


def rows_of(weight: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return weight.detach().double().numpy().reshape(weight.shape[0], -1)


@pytest.mark.parametrize("size", [(6, 3, 3, 3), (4, 1, 3, 3), (5, 7, 1, 1), (2, 1, 1, 1)])
@pytest.mark.parametrize("option", OPTIONS)
def test_weights_are_those_of_the_formulas(option: str, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    outputs, inputs, kernel, _ = size
    module = nn.Conv2d(inputs, outputs, kernel, bias=False).double()
    v = rows_of(module.weight)
    reparametrise(module, option)
    if option == "ws":
        deviation = v.std(1, ddof=1, keepdims=True) if v.shape[1] > 1 else 0.0
        wanted = (v - v.mean(1, keepdims=True)) / (deviation + 1e-5)
    elif option == "sws":
        wanted = (v - v.mean(1, keepdims=True)) / np.sqrt(np.maximum(v.shape[1] * v.var(1, keepdims=True), 1e-4))
    else:
        for _ in range(200):
            module.weight.sum()  # a step of power iteration at each use
        wanted = v / np.linalg.svd(v, compute_uv=False)[0]
    np.testing.assert_allclose(rows_of(module.weight), wanted, rtol=1e-9, atol=1e-9)


def test_gains_are_trained_and_scale_the_weights() -> None:
    for option, gain in (("sws", "gain"), ("sigma", "gamma")):
        module = nn.Conv2d(3, 4, 3).double().eval()
        reparametrise(module, option)
        before = module.weight.detach().clone()
        (parameter,) = [p for name, p in module.named_parameters() if name.endswith(gain)]
        with torch.no_grad():
            parameter.mul_(2.5)
        torch.testing.assert_close(module.weight, 2.5 * before)
        module(torch.randn(2, 3, 5, 5).double()).square().sum().backward()
        assert parameter.grad is not None and bool((parameter.grad != 0.0).all())


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", NAMES)
def test_an_anchor_with_normalised_weights_starts_from_the_same_and_trains(name: str, option: str) -> None:
    plain, network = built(name), built(f"{name}+{option}")
    kinds = (nn.Conv2d, nn.Linear) if option == "sigma" else (nn.Conv2d,)
    mine = {n: trained_weight(m) for n, m in network.named_modules() if isinstance(m, kinds)}
    other = {n: m.weight for n, m in plain.named_modules() if isinstance(m, kinds)}
    assert mine and mine.keys() == other.keys() and all(torch.equal(mine[n], other[n]) for n in mine)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    nn.functional.cross_entropy(network(torch.randn(4, 3, 16, 16)), torch.arange(4)).backward()
    optimizer.step()
    assert not any(torch.equal(mine[n], other[n]) for n in mine if other[n].numel() > 64)
    copied = copy.deepcopy(network).eval()
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(copied(x), network.eval()(x))


@pytest.mark.parametrize("option", OPTIONS)
def test_filters_look_at_what_is_trained(option: str) -> None:
    network = built(f"resnet-small+{option}")
    weights = judged_weights(network)
    trained = {id(p) for p in network.parameters()}
    assert weights and all(id(weight) in trained and weight.dim() == 4 for weight in weights)


def test_names_have_placements_options_and_widths_in_this_order(tmp_path: Path) -> None:
    row = anchor_named("vit-small:post+qk+sigma@2")
    assert row.weights == "sigma" and row.config.blocks.qk_norm and row.config.blocks.width_multiplier == 2.0
    assert plain_name("vit-small:post+qk+sigma@2") == "vit-small:post+qk" and plain_name("resnet50@0.5") == "resnet50"
    with pytest.raises(UsageError, match=r"unknown anchor 'resnet-small\+wss'"):
        anchor_named("resnet-small+wss")
    file = tmp_path / "mine.py"
    file.write_text(
        "from torch import nn\n"
        "def net(layer, in_channels, classes):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),"
        " nn.Linear(4, classes))\n"
    )
    load_named_files([f"{file}:net"])
    with pytest.raises(UsageError, match="unknown anchor"):
        anchor_named(f"{file}:net+wss")
    assert anchor_named(f"{file}:net+ws").weights == "ws"
    assert build_anchor(f"{file}:net+ws", LayerFactory.published("bn-relu"), in_channels=3, classes=2) is not None


def test_a_weight_of_several_parameters_is_the_largest_of_them() -> None:
    """As PyTorch's own weight normalisation has it, in a user's network."""
    module = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
    assert trained_weight(module).shape == (4, 3, 3, 3) and trained_weight(module).requires_grad
    plain = nn.Linear(2, 3)
    assert trained_weight(plain) is plain.weight
