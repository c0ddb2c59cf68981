"""Published layers that are no graphs, beside independent computations in float64, and their places in networks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.errors import UsageError
from evonas.evolution.trainings import training_task
from evonas.layers.modules.batch_channel_norm import BatchChannelNorm
from evonas.layers.modules.ibn import InstanceBatchNorm
from evonas.layers.modules.module_factory import CLASSES, ModuleFactory
from evonas.layers.modules.module_names import MODULES
from evonas.layers.modules.power_norm import PowerNorm
from evonas.layers.modules.rep_bn import PRepBN
from evonas.layers.modules.unified_norm import UnifiedNorm
from evonas.settings.candidate import Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import build_anchor
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.trial.evaluate import evaluate_task
from evonas.workers.trial.training import trained_parameters
from tests.test_cli import Call

EPS = 1e-5


def batches(count: int, channels: int = 3, scale: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        scale * torch.randn(4, channels, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(count)
    ]


def gradients(count: int, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(4, channels, 2, 3, generator=generator, dtype=torch.float64) for _ in range(count)]


def rows(x: Tensor) -> np.ndarray:
    """A batch (b, c, h, w) as a NumPy array (c, values)."""
    found: np.ndarray = x.detach().transpose(0, 1).flatten(1).numpy()
    return found


def test_powernorm_is_that_of_the_paper() -> None:
    """Algorithm 2, step by step in NumPy, after a warm-up of two steps."""
    layer = PowerNorm(3, warm_up=2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, 2.0, 0.5]))
    gamma, alpha = np.array([[1.0], [2.0], [0.5]]), 0.9
    square, nu = np.ones((3, 1)), np.zeros((3, 1))
    for step, (x, dy) in enumerate(zip(batches(6), gradients(6), strict=True)):
        y = layer(x)
        (dx,) = torch.autograd.grad(y, x, dy)
        own = (rows(x) ** 2).mean(1, keepdims=True)
        psi = np.sqrt((own if step < 2 else square) + EPS)
        z, g = rows(x) / psi, gamma * rows(dy)
        np.testing.assert_allclose(rows(y), gamma * z, rtol=1e-9)
        np.testing.assert_allclose(rows(dx), (g - nu * z) / psi, rtol=1e-9, atol=1e-12)
        square = alpha * square + (1 - alpha) * own
        nu = nu * (1 - (1 - alpha) * (z**2).mean(1, keepdims=True)) + (1 - alpha) * (g * z).mean(1, keepdims=True)
    np.testing.assert_allclose(layer.running_square.numpy(), square[:, 0], rtol=1e-9)
    np.testing.assert_allclose(layer.running_gradient.numpy(), nu[:, 0], rtol=1e-9)
    x = batches(1)[0]
    np.testing.assert_allclose(rows(layer.eval()(x)), gamma * rows(x) / np.sqrt(square + EPS), rtol=1e-9)


@pytest.mark.parametrize("filtration", [False, True])
def test_unified_normalization_is_that_of_the_paper(filtration: bool) -> None:
    layer = UnifiedNorm(3, window=3, warm_up=4, filtration=filtration).double()
    squares, own_gradients = np.zeros((3, 3)), np.zeros((3, 3))
    running, psi, alpha = np.ones(3), np.zeros(3), 0.9
    outliers = 0
    for step, (x, dy) in enumerate(zip(batches(10), gradients(10), strict=True)):
        if step == 7:
            x = (30 * x).detach().requires_grad_()  # an outlier
        y = layer(x)
        (dx,) = torch.autograd.grad(y, x, dy)
        own, bound = (rows(x) ** 2).mean(1), 3 * np.sqrt(squares).var(ddof=1)
        squares[step % 3] = own
        geometric = np.exp(np.log(np.maximum(squares, 1e-30)).mean(0))
        is_outlier = filtration and step >= 4 and bool((squares.mean(0) - geometric > bound).any())
        outliers += is_outlier
        by_itself = is_outlier or step < 4
        if is_outlier:
            squares[step % 3] = running
        variance = own if by_itself else geometric
        sigma = np.sqrt(variance + EPS)[:, None]
        z, g = rows(x) / sigma, rows(dy)
        np.testing.assert_allclose(rows(y), z, rtol=1e-9)
        mean = (g * z).mean(1)
        own_gradients[step % 3] = psi if is_outlier else mean
        psi = alpha * psi + (1 - alpha) * (mean if by_itself else own_gradients.mean(0))
        used = mean if is_outlier else psi
        np.testing.assert_allclose(rows(dx), (g - used[:, None] * z) / sigma, rtol=1e-9, atol=1e-12)
        running = alpha * running + (1 - alpha) * variance
    assert outliers == (1 if filtration else 0) or filtration  # the large batch is one, others may be
    np.testing.assert_allclose(layer.running_square.numpy(), running, rtol=1e-9)
    x = batches(1)[0]
    np.testing.assert_allclose(rows(layer.eval()(x)), rows(x) / np.sqrt(running + EPS)[:, None], rtol=1e-9)


def test_the_gradient_of_an_outlier_is_exact() -> None:
    layer = UnifiedNorm(1, window=3, warm_up=3, filtration=True).double()
    for x in batches(5, 1):
        layer(x.detach())
    x = (30 * batches(1, 1)[0]).detach().requires_grad_()
    (dx,) = torch.autograd.grad(layer(x).sin().sum(), x)
    plain = x.detach().clone().requires_grad_()
    by_itself = plain / (plain.square().mean() + EPS).sqrt()
    (expected,) = torch.autograd.grad(by_itself.sin().sum(), plain)
    torch.testing.assert_close(dx, expected, rtol=1e-6, atol=1e-9)  # but for eps in the mean of z²


def test_prepbn_gives_way_and_folds() -> None:
    torch.manual_seed(0)
    layer, linear = PRepBN(6, -1, steps=4), nn.Linear(6, 5)
    with torch.no_grad():
        for p in (*layer.parameters(), linear.weight):
            p.copy_(torch.randn_like(p))
    for step in range(6):
        x = torch.randn(3, 7, 6)
        share = max(0.0, 1 - step / 4)
        by_layer = nn.functional.layer_norm(x, (6,), layer.layer_norm.weight, layer.layer_norm.bias)
        flat = x.view(-1, 6)
        by_batch = nn.functional.batch_norm(
            flat, None, None, layer.batch_norm.weight, layer.batch_norm.bias, training=True
        ).view_as(x)
        expected = share * by_layer + (1 - share) * (by_batch + layer.eta * x)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    layer.eval()
    x = torch.randn(3, 7, 6)
    # Two products in float32 are joined into one.
    torch.testing.assert_close(layer.folded(linear)(x), linear(layer(x)), rtol=1e-4, atol=1e-4)
    bare = nn.Linear(6, 5, bias=False)
    torch.testing.assert_close(layer.folded(bare)(x), bare(layer(x)), rtol=1e-4, atol=1e-4)
    images = torch.randn(2, 6, 3, 2)
    torch.testing.assert_close(
        PRepBN(6, 1, first=0.0)(images), images + nn.functional.batch_norm(images, None, None, training=True)
    )


@pytest.mark.parametrize("dim", [1, -1])
def test_bcn_is_a_mixture(dim: int) -> None:
    torch.manual_seed(0)
    layer, x = BatchChannelNorm(6, dim), torch.randn(4, 6, 3, 2)
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(torch.randn_like(p))
    column = [p.view(6, 1, 1) for p in (layer.share, layer.weight, layer.bias)]
    for training in (True, False):
        layer.train(training)
        statistics = None if training else layer.running_mean, None if training else layer.running_var
        by_batch = nn.functional.batch_norm(x, *statistics, training=training)
        if dim == 1:
            by_sample = nn.functional.layer_norm(x, (6, 3, 2))
            found = layer(x)
        else:
            by_sample = nn.functional.layer_norm(x.movedim(1, -1), (6,)).movedim(-1, 1)
            found = layer(x.movedim(1, -1)).movedim(-1, 1)
        expected = column[1] * (column[0] * by_batch + (1 - column[0]) * by_sample) + column[2]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 5, 6])
def test_ibn_splits_channels(channels: int) -> None:
    torch.manual_seed(0)
    layer, x, half = InstanceBatchNorm(channels), torch.randn(4, channels, 3, 2), channels // 2
    by_batch = nn.functional.batch_norm(x[:, half:], None, None, training=True)
    parts = [nn.functional.instance_norm(x[:, :half]), by_batch] if half else [by_batch]
    torch.testing.assert_close(layer(x), torch.cat(parts, 1), rtol=1e-5, atol=1e-5)
    kept = nn.BatchNorm2d(channels - half)
    kept(x[:, half:])
    torch.testing.assert_close(layer.running_var, kept.running_var)
    torch.testing.assert_close(layer.eval()(x)[:, half:], kept.eval()(x[:, half:]))


SHAPES = [(2, 6), (3, 6, 5), (2, 6, 4, 3), (2, 6, 2, 3, 2), (0, 6, 4, 3)]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_they_keep_shape_and_type_of_images_and_tokens(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for dim in (1, -1):
        layer = CLASSES[name](6, dim).to(dtype if name == "prepbn" else torch.float32)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
        given = x if dim == 1 else x.movedim(1, -1)
        y = layer(given)
        assert y.shape == given.shape and y.dtype == dtype and bool(y.isfinite().all())
        y.float().sum().backward()
        assert x.grad is not None and bool(x.grad.isfinite().all())
        assert layer.eval()(given).shape == given.shape


@pytest.mark.parametrize("name", MODULES)
def test_tokens_are_images_with_channels_last(name: str) -> None:
    if name == "bcn":
        return  # its LayerNorm is over other axes of images
    torch.manual_seed(0)
    x = torch.randn(3, 6, 4, 2)
    one, other = CLASSES[name](6, 1), CLASSES[name](6, -1)
    torch.testing.assert_close(one(x), other(x.movedim(1, -1)).movedim(-1, 1), rtol=1e-5, atol=1e-5)


def test_every_name_has_a_class_and_a_place() -> None:
    assert set(CLASSES) == set(MODULES)
    factory = ModuleFactory("powernorm")
    assert [type(m) for m in factory.norm_act(4)] == [PowerNorm, nn.ReLU]  # type: ignore[attr-defined]  # a Sequential
    assert isinstance(factory.norm(4), PowerNorm) and factory.tokens(4).dim == -1
    assert ModuleFactory("prepbn", 77).tokens(4).steps == 77
    with pytest.raises(UsageError, match=r"layer.*'powernrom'.*powernorm"):
        ModuleFactory("powernrom")
    for anchor in ("resnet-small", "vit-small"):
        model = build_anchor(anchor, factory, in_channels=1, classes=3)
        model(torch.randn(2, 1, 16, 16)).sum().backward()


PROTOCOL = EvaluationProtocol(anchors=("vit-small", "resnet-small"), steps=30, batch=32, hurdle_steps=())


@pytest.mark.parametrize("name", MODULES)
def test_a_worker_trains_them(name: str) -> None:
    task = training_task(name, 0, PROTOCOL)
    assert task.module == name and not task.filtered
    found = [evaluate_task(task, load_dataset("digits")) for _ in range(2)]
    assert found[0].status is Status.SCORED and found[0].scores == found[1].scores
    assert all(0.05 < score < 1 and math.isfinite(score) for score in found[0].scores.values())


@pytest.mark.parametrize("name", MODULES)
def test_their_parameters_can_be_trained_alone(name: str) -> None:
    protocol = replace(PROTOCOL, anchors=("vit-small",), train="affine", steps=2)
    model = build_anchor("vit-small", ModuleFactory(name), in_channels=1, classes=10)
    layers = [m for m in model.modules() if isinstance(m, CLASSES[name])]  # type: ignore[arg-type]  # they are classes
    expected = {id(p) for layer in layers for p in layer.parameters()}
    assert {id(p) for p in trained_parameters(protocol, model)} == expected and len(layers) == 9


def test_they_do_not_fit_into_ordinary_models() -> None:
    from evonas.workers.anchors.user_network import build_user_network

    def network(in_channels: int, classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    with pytest.raises(UsageError, match="only layers that are graphs are swapped"):
        build_user_network("mine", network, ModuleFactory("bcn"), 1, 3)
    protocol = replace(PROTOCOL, anchors=("vit-small",), steps=2)
    assert training_task("bn-relu", 0, protocol).module == ""


def test_a_table_takes_them_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(monkeypatch, capsys)
    layers = ("--layer", "powernorm", "--layer", "layernorm")
    short = ("--seeds", 1, "--steps", 3, "--anchor", "vit-small", "--data", "digits", "--executor", "local")
    code, out, _ = call("baseline", *layers, *short)
    assert code == 0 and "powernorm" in out and "layernorm" in out
    assert "powernorm" in call("zoo")[1]
    code, _, said = call("baseline", "--layer", "powernrom", *short)
    assert code == 2 and "powernrom" in said


def test_layers_of_tokens_are_compared_in_a_causal_network_whatever_the_space_of_the_preset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = Call(monkeypatch, capsys)
    words = ("--anchor", "gpt-small", "--data", "text", "--seeds", 1, "--steps", 2, "--executor", "local")
    code, out, _ = call("baseline", "--layer", "layernorm", *words)
    assert code == 0 and "layernorm" in out and "failed" not in out
    _, out, _ = call("baseline", "--layer", "powernorm", *words)
    assert "a causal network cannot have the layer PowerNorm" in " ".join(out.split())
