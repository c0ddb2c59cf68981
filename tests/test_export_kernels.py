"""Triton kernels in exported files: run under Triton's interpreter without evonas, and compared with the reference."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest
import torch

from evonas.errors import UsageError
from evonas.kernels.export.copy_definitions import top_level_definitions
from evonas.kernels.export.kernel_source import NAMES
from evonas.kernels.export.layer_file import export_layer
from evonas.kernels.export.torch_source import to_torch
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from tests.strategies import OF_PLANES, ZOO_OF_PLANES, seeded_graphs
from tests.test_export import in_a_fresh_interpreter, is_tame, prepared

NARROW = (2, 1, 3, 2)
PARTICULAR = {
    "batch and group": Graph.parse("tanh(x) / std_bwh(x * sigmoid(x / std_whcg(x)))"),
    "one sample": Graph.parse("x / rms_whc(x) + mean_whc(tanh(x)) * x"),
    "of parameters": Graph.parse("x * std_bwh(v1) + mean_bwh(mean_wh(x)) + x * std_whcg(v1 + 0)"),
    "input": Graph((), 0),
    "without a gradient in evaluation": Graph.parse("x * 0 + std_bwh(x)"),
}
SOME = ("bn-relu", "evonorm-b0", "evonorm-s0", "dyt")
BY_ROWS = {
    **{name: zoo[name] for name in ("layernorm", "rmsnorm-c", "headnorm")},
    "groups and rows": Graph.parse("x * sigmoid(s1 * x) / rms_cg(x) + mean_c(v1 * x)"),
}


def test_they_give_what_the_reference_gives(tmp_path: Path) -> None:
    compare({**{name: zoo[name] for name in SOME}, **PARTICULAR, **BY_ROWS}, tmp_path)


@pytest.mark.slow
def test_those_of_the_zoo_and_of_random_graphs_do(tmp_path: Path) -> None:
    compare(
        ZOO_OF_PLANES
        | BY_ROWS
        | dict(islice((item for item in seeded_graphs(2000, OF_PLANES) if is_tame(item[1])), 30)),
        tmp_path,
    )


def compare(graphs: Mapping[str, Graph], tmp_path: Path) -> None:
    """Compares the kernels of exported files, run in a fresh interpreter, with the reference in float64."""
    jobs, cases = [], []
    for number, (label, graph) in enumerate(graphs.items()):
        path = str(export_layer(graph, tmp_path / f"layer_{number}.py"))
        variants: list[dict[str, object]] = [{"channels_last": number % 2 == 1}]
        if label == "evonorm-s0":
            variants += [{"channels_last": number % 2 == 0}, {"affine": False}, {"shape": NARROW}]
            variants += [{"dtype": torch.bfloat16}]
        for variant in variants:
            job, _ = prepared(graph, **{"dtype": torch.float32, **variant})
            expected = prepared(graph, **{**variant, "dtype": torch.float64})[1]
            job["init"]["backend"] = "triton"
            jobs.append({"path": path, **job})
            cases.append((f"{label} {variant}", expected, variant.get("dtype", torch.float32)))
    for (label, expected, dtype), seen in zip(cases, in_a_fresh_interpreter(jobs, tmp_path), strict=True):
        assert seen.keys() == expected.keys(), label
        for name, exact in expected.items():
            # float32 rounds to 6e-8 of a value. Sums and quotients of some hundred values lose some hundred times
            # that, and cancellation loses that of the largest value. bfloat16 rounds inputs and results to 2^-8 of a
            # value, and sums over 60 positions lose a few times that.
            scale = max(1.0, float(exact.abs().max()))
            rtol, atol = (1e-4, 2e-5 * scale) if dtype == torch.float32 else (2.0**-6, 2.0**-5 * scale)
            close = {"rtol": rtol, "atol": atol}
            torch.testing.assert_close(seen[name].double(), exact.double(), **close, msg=f"{label}: {name}")


WITHOUT_TRITON = """
import importlib.util, sys, torch
sys.modules["evonas"] = sys.modules["triton"] = None
spec = importlib.util.spec_from_file_location("loaded", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
layer = module.Layer(4)
x = torch.randn(2, 4, 3, 3, requires_grad=True)
layer(x).sum().backward()
assert x.grad is not None
try:
    module.Layer(4, backend="triton")
except ValueError as error:
    print(error)
"""


def test_without_triton_pytorch_computes_the_layer(tmp_path: Path) -> None:
    path = export_layer(zoo["evonorm-b0"], tmp_path / "layer.py")
    command = [sys.executable, "-I", "-c", WITHOUT_TRITON, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "backend 'triton' needs the package triton\n"), done.stderr


LOADED = """
import importlib.util, sys, torch
sys.modules["evonas"] = None
spec = importlib.util.spec_from_file_location("loaded", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["loaded"] = module
spec.loader.exec_module(module)
"""
IN_PYTORCH = """
import copy
from torch.utils.checkpoint import checkpoint
torch.manual_seed(0)
kernels, plain = (module.Layer(4, groups=2, backend=b) for b in ("triton", "reference"))
x = torch.randn(2, 4, 3, 5)

def slopes(call):
    leaf = x.clone().requires_grad_()
    call(leaf).square().sum().backward()
    return leaf.grad

wanted = slopes(plain)
calls = {
    "copied": copy.deepcopy(kernels),
    "checkpointed": lambda x: checkpoint(kernels, x, use_reentrant=False),
    "compiled": torch.compile(kernels, backend="aot_eager", fullgraph=True),
    "exported": torch.export.export(kernels, (x,)).module(),
    "crooked": lambda x: kernels(x.transpose(2, 3)).transpose(2, 3),
}
for name, call in calls.items():
    torch.testing.assert_close(slopes(call), wanted, rtol=1e-4, atol=1e-5, msg=name)
torch.testing.assert_close(torch.func.grad(lambda x: kernels(x).square().sum())(x), wanted)
kept = []
with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
    kernels(x.clone().requires_grad_())
assert [t.numel() for t in kept if t.numel() >= x.numel()] == [x.numel()], [t.shape for t in kept]
leaf = x.clone().requires_grad_()
(slope,) = torch.autograd.grad(kernels(leaf).square().sum(), leaf, create_graph=True)
try:
    slope.sum().backward()
except RuntimeError as error:
    assert "once_differentiable" in str(error)
else:
    raise AssertionError("a second derivative")
assert kernels(x.double()).dtype == torch.float64 and kernels(x[:0]).shape == (0, 4, 3, 5)
"""


def run_with(path: Path, script: str) -> None:
    """Runs a script on an exported file, in an interpreter without evonas."""
    command = [sys.executable, "-I", "-c", LOADED + script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


@pytest.mark.parametrize("name", ["evonorm-s0", "layernorm"])
def test_they_work_with_the_rest_of_pytorch(name: str, tmp_path: Path) -> None:
    run_with(export_layer(zoo[name], tmp_path / "layer.py"), IN_PYTORCH)


TOKENS = """
calls, run = [], module.ByKernels.apply
module.ByKernels.apply = lambda *given: calls.append(1) or run(*given)
for shape in ((2, 5, 12), (3, 12), (1, 1, 12), (2, 3, 4, 12)):
    x, dy = torch.randn(shape), torch.randn(shape)
    found = []
    for backend in ("triton", "reference"):
        layer = module.Layer(12, groups=4, backend=backend, dim=-1)
        leaf = x.clone().requires_grad_()
        found.append((y := layer(leaf), *torch.autograd.grad(y, [leaf, *layer.parameters()], dy)))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)
assert len(calls) == 4
layer = module.Layer(20_000, dim=-1, backend="triton")
assert layer(torch.ones(1, 20_000)).shape == (1, 20_000) and len(calls) == 4  # rows that are too long for a program
images = torch.randn(2, 12, 3, 4)
for form in (torch.contiguous_format, torch.channels_last):
    y = module.Layer(12, backend="triton")(images.contiguous(memory_format=form))
    assert y.is_contiguous(memory_format=form)
"""


@pytest.mark.parametrize("name", ["layernorm", "headnorm", "groups and rows"])
def test_tokens(name: str, tmp_path: Path) -> None:
    run_with(export_layer(BY_ROWS[name], tmp_path / "layer.py"), TOKENS)


def test_a_file_has_kernels_unless_they_are_switched_off(tmp_path: Path) -> None:
    with_them = export_layer(zoo["dyt"], tmp_path / "with.py").read_text()
    without = export_layer(zoo["dyt"], tmp_path / "without.py", triton=False).read_text()
    assert "@jit\ndef write_back(" in with_them and "backend: str" in with_them
    assert "triton" not in without.lower() and "backend" not in without
    assert without == to_torch(zoo["dyt"], "Layer")


def test_only_a_layer_with_batch_statistics_has_kernels_for_evaluation() -> None:
    assert "_evaluation" in to_torch(zoo["bn-relu"], triton=True)
    assert "_evaluation" not in to_torch(zoo["evonorm-s0"], triton=True)


@pytest.mark.parametrize("name", ["sweep_1", "join_back_1", "forward_on_chip", "forward_pass", "Shape"])
def test_a_class_cannot_be_called_as_a_kernel(name: str) -> None:
    with pytest.raises(UsageError, match="the file itself uses the name"):
        to_torch(zoo["evonorm-s0"], name, triton=True)


def test_no_name_is_defined_twice_in_a_file() -> None:
    # A layer's own functions in PyTorch and those that its kernels call stand in one file.
    assert not set(top_level_definitions("export/torch_helpers.py")) & NAMES
