"""Batch statistics over several processes: two processes with half a batch each are one with all of it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import evonas
from evonas import NormAct
from evonas.errors import UsageError

LAYERS = ["bn-relu", "evonorm-b0", "rms_bwh(x) * x / std_bwh(v1 * x + v0) - mean_bwh(v0)", "evonorm-s0"]
SPLITS = [(3, 3), (5, 1), (6, 0)]
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
"""float64, with sums in another order."""


def network(layer: str) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 1)).double()
    evonas.swap(made, layer, groups=2)
    with torch.no_grad():
        for parameter in made[1].parameters():
            parameter.add_(torch.linspace(-0.4, 0.6, 4))
    return made


def batch() -> Tensor:
    return torch.randn(6, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def loss(y: Tensor) -> Tensor:
    """A sum, so that shares of a batch count by their size."""
    return (y.square() * torch.linspace(0.5, 1.5, 5)).sum()


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    loss(y).backward()
    parameters = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    assert x.grad is not None
    return [y.detach(), x.grad, *parameters, *(b.clone() for b in model.buffers())]


def run(rank: int, folder: str) -> None:
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    found: dict[str, Any] = {}
    for layer in LAYERS:
        for split in SPLITS:
            model = evonas.convert_sync_batchnorm(network(layer))
            x = batch().split(split)[rank]
            if min(split):
                found[f"{layer} {split}"] = gradients(model, x)
            else:  # the derivative of a convolution does not know an empty batch
                found[f"{layer} {split}"] = gradients(model[1], x.repeat(1, 2, 1, 1))
        model = DistributedDataParallel(evonas.convert_sync_batchnorm(network(layer)))
        for step in range(2):  # the second with the running values of the first
            model.zero_grad()
            found[f"{layer} ddp {step}"] = gradients(model, batch().split(3)[rank])
    # A second derivative, such as that of a gradient penalty.
    model, x = evonas.convert_sync_batchnorm(network("bn-relu")), batch().split((4, 2))[rank].requires_grad_()
    (slope,) = torch.autograd.grad(loss(model(x)), x, create_graph=True)
    found["penalty"] = list(torch.autograd.grad(slope.square().sum(), [x, *model.parameters()], allow_unused=True))
    layer_ = NormAct("bn-relu", 2, process_group=distributed.group.WORLD).double()
    assert "synchronised" in repr(layer_)
    found["group"] = [layer_(batch().split(3)[rank])]
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[Tensor]]]:
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(run, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("split", SPLITS, ids=str)
@pytest.mark.parametrize("layer", LAYERS)
def test_two_processes_are_one(layer: str, split: tuple[int, int], found: list[dict[str, list[Tensor]]]) -> None:
    first, second = (one[f"{layer} {split}"] for one in found)
    model = network(layer)
    joint = gradients(model, batch()) if min(split) else gradients(model[1], batch().repeat(1, 2, 1, 1))
    for place, (whole, a, b) in enumerate(zip(joint, first, second, strict=True)):
        parameters = 2 <= place < 2 + len(list(model.parameters() if min(split) else model[1].parameters()))
        if place < 2:
            torch.testing.assert_close(torch.cat([a, b]), whole, **CLOSE)
        elif parameters:
            torch.testing.assert_close(a + b, whole, **CLOSE)
        else:
            torch.testing.assert_close(a, whole, **CLOSE)
            torch.testing.assert_close(b, whole, **CLOSE)


@pytest.mark.parametrize("layer", LAYERS)
def test_under_ddp(layer: str, found: list[dict[str, list[Tensor]]]) -> None:
    model = network(layer)
    number = len(list(model.parameters()))
    for step in range(2):
        model.zero_grad()
        joint = gradients(model, batch())
        first, second = (one[f"{layer} ddp {step}"] for one in found)
        torch.testing.assert_close(torch.cat([first[0], second[0]]), joint[0], **CLOSE)
        torch.testing.assert_close(torch.cat([first[1], second[1]]), joint[1], **CLOSE)
        for place in range(2, 2 + number):
            torch.testing.assert_close(2 * first[place], joint[place], **CLOSE)  # DDP takes the mean over processes
            assert torch.equal(first[place], second[place])
        for place in range(2 + number, len(joint)):
            torch.testing.assert_close(first[place], joint[place], **CLOSE)
            assert torch.equal(first[place], second[place])


def test_second_derivatives_and_groups(found: list[dict[str, list[Tensor]]]) -> None:
    model, x = network("bn-relu"), batch().requires_grad_()
    (slope,) = torch.autograd.grad(loss(model(x)), x, create_graph=True)
    joint = torch.autograd.grad(slope.square().sum(), [x, *model.parameters()], allow_unused=True)
    first, second = (one["penalty"] for one in found)
    torch.testing.assert_close(torch.cat([first[0], second[0]]), joint[0], rtol=1e-8, atol=1e-7)  # of some thousands
    for whole, a, b in zip(joint[1:], first[1:], second[1:], strict=True):
        if whole is not None:
            torch.testing.assert_close(a + b, whole, rtol=1e-8, atol=1e-7)
    whole = NormAct("bn-relu", 2).double()(batch())
    torch.testing.assert_close(torch.cat([one["group"][0] for one in found]), whole, **CLOSE)


def test_without_other_processes_nothing_changes() -> None:
    model = network("bn-relu")
    converted = evonas.convert_sync_batchnorm(copy.deepcopy(model))
    assert torch.equal(converted(batch()), model(batch()))


def test_running_values_are_averaged_anew() -> None:
    """As `torch.optim.swa_utils.update_bn` does for BatchNorms alone."""
    model = network("bn-relu").eval()
    expected = nn.Sequential(copy.deepcopy(model[0]), nn.BatchNorm2d(4).double()).eval()
    batches = [(batch()[:2], 0), (batch()[2:3], 1), (batch()[3:], 2)]
    torch.optim.swa_utils.update_bn(batches, expected)
    evonas.update_bn(batches, model)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(model[1].get_buffer(name), expected[1].get_buffer(name), rtol=1e-12, atol=1e-12)
    assert not model.training and not model[1].training and model[1].momentum == 0.1
    evonas.update_bn([{"x": batch()}], model, device="cpu")
    assert not torch.equal(model[1].get_buffer("running_mean"), expected[1].get_buffer("running_mean"))


@pytest.mark.parametrize("mix", [0.0, 0.25, 1.0])
def test_running_values_are_mixed_with_those_of_other_data(mix: float) -> None:
    """Of evonas's layers and of BatchNorms alike, each by its own rule."""
    model = nn.Sequential(network("bn-relu"), nn.BatchNorm2d(3).double())
    for _ in range(3):
        model(3.0 + 2.0 * batch())
    anew, others = copy.deepcopy(model), [batch(), batch()[:2]]
    evonas.update_bn(others, anew)
    before = {name: value.clone() for name, value in model.named_buffers()}
    evonas.calibrate(model.eval(), others, mix)
    for name, value in model.named_buffers():
        if value.is_floating_point():
            wanted = (1.0 - mix) * before[name] + mix * anew.get_buffer(name)
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
        else:
            assert torch.equal(value, before[name])
    assert not model.training


def test_a_calibration_that_fails_changes_nothing() -> None:
    model = network("bn-relu")
    model(batch())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UsageError, match=r"mix must be a number from 0 to 1, not 1\.5"):
        evonas.calibrate(model, [batch()], mix=1.5)
    with pytest.raises(UsageError, match="saw a batch"):
        evonas.calibrate(model, [])
    with pytest.raises(RuntimeError):
        evonas.calibrate(model, [batch(), torch.zeros(2, 5, 3, 3).double()])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_calibration_leaves_layers_that_see_nothing_as_they_are() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused, self.frozen = (nn.BatchNorm2d(2).double() for _ in range(3))

        def train(self, mode: bool = True) -> nn.Module:
            super().train(mode)
            self.frozen.eval()
            return self

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.frozen(self.used(x))
            return found

    model = Branches()
    for norm in model.children():
        norm.running_mean.fill_(5.0)  # type: ignore[union-attr,operator]  # a buffer
    evonas.calibrate(model, [batch()], mix=0.5)
    assert not torch.allclose(model.used.get_buffer("running_mean"), torch.tensor(5.0).double())
    for norm in (model.unused, model.frozen):
        assert bool((norm.get_buffer("running_mean") == 5.0).all() and (norm.get_buffer("running_var") == 1.0).all())
