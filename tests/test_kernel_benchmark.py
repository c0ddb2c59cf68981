"""The parts of the kernel benchmark that need no GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.kernels import correctness, networks, shapes
from evonas.kernels.triton_run import TritonLayer
from evonas.published import zoo
from evonas.workers.anchors import resnet

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("number", [0, 2, 3])
def test_kernels_that_are_right_have_no_faults(number: int) -> None:
    assert correctness.check(zoo["evonorm-b0"], number, "cpu") == []


def test_kernels_that_are_wrong_have(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TritonLayer.forward

    def wrong(self: TritonLayer, *arguments: object) -> object:
        y, stats = forward(self, *arguments)  # type: ignore[arg-type]  # handed on as they came
        return y * 1.01, stats

    monkeypatch.setattr(TritonLayer, "forward", wrong)
    (fault,) = correctness.check(zoo["evonorm-s0"], 0, "cpu")
    assert fault.startswith("y is off by ")


def test_shapes_are_those_of_the_networks() -> None:
    assert (128, 256, 56, 56) in shapes.resnet50() and (128, 960, 7, 7) in shapes.mobilenetv2()
    largest = max(b * c * h * w for b, c, h, w in (*shapes.resnet50(), *shapes.mobilenetv2()))
    assert largest == 128 * 96 * 112 * 112


def test_the_graphs_are_the_same_every_time() -> None:
    one, two = ([(label, g.key) for label, g in correctness.graphs(6)] for _ in range(2))
    assert one == two and len(one) == len(zoo) + 6


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.kernels", "-o", str(tmp_path / "k.json")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 1 and "PyTorch sees no GPU" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("layer", "way"), [("cudnn", "eager"), ("evonorm-s0", "eager"), ("evonorm-s0", "ours")])
def test_a_step_trains_the_network(layer: str, way: str) -> None:
    step = networks.training_step(layer, way, "cpu", torch.bfloat16, batch=2, size=12, config=resnet.SMALL)
    network = next(cell.cell_contents for cell in step.__closure__ or () if isinstance(cell.cell_contents, nn.Module))
    before = {name: p.clone() for name, p in network.named_parameters()}
    step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert [name for name, p in network.named_parameters() if not torch.equal(p, before[name])]


@pytest.mark.slow
def test_the_check_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    command = [sys.executable, "-m", "benchmarks.kernels", "--device", "cpu", "--part", "correctness", "--random", "2"]
    subprocess.run([*command, "-o", str(file)], cwd=ROOT, check=True, capture_output=True)
    assert json.loads(file.read_text())["wrong"] == []
