"""Whole models after a swap: what PyTorch's tracers, exporters and compilers did before it, they do afterwards."""

from __future__ import annotations

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

import evonas
from evonas import NormAct
from tests.usual_models import BasicBlock, ResNet, Sequences

LAYERS = ["bn-relu", "evonorm-b0", "evonorm-s0", "x * sigmoid(x) / std_wh(x - v0) + log(x) * sqrt(x)"]
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
"""float32 over ten layers, whose sums a tracer may order in another way."""


def swapped(layer: str) -> nn.Module:
    torch.manual_seed(0)
    made = ResNet(BasicBlock)
    evonas.swap(made, layer)
    made(torch.randn(4, 3, 32, 32))  # so that running values are not those of the start
    return made.eval()


@pytest.fixture(params=LAYERS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    return swapped(request.param)


X = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_symbolic_trace(model: nn.Module) -> None:
    traced = fx.symbolic_trace(model)
    torch.testing.assert_close(traced(X), model(X), **CLOSE)
    layers = [m for m in traced.modules() if isinstance(m, NormAct)]
    assert layers and len(layers) == sum(isinstance(m, NormAct) for m in model.modules())
    called = {node.target for node in traced.graph.nodes if node.op == "call_module"}
    assert {name for name, m in traced.named_modules() if isinstance(m, NormAct)} <= called


def test_a_traced_graph_is_swapped_again() -> None:
    made = ResNet(BasicBlock)
    traced = fx.symbolic_trace(made)
    assert len(evonas.swap(traced, "evonorm-s0").replaced) == len(evonas.swap(made, "evonorm-s0").replaced)
    assert traced.eval()(X).isfinite().all()


def test_export_for_any_batch(model: nn.Module) -> None:
    program = torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert not [n for n in program.graph.nodes if "evonas" in str(n.target)], "an operator that others do not have"
    for batch in (2, 5):
        x = torch.randn(batch, 3, 32, 32)
        torch.testing.assert_close(program.module()(x), model(x), **CLOSE)


def test_export_in_training(model: nn.Module) -> None:
    changed = copy.deepcopy(model).train()
    traced = torch.export.export(copy.deepcopy(changed), (X,)).module()
    torch.testing.assert_close(traced(X), changed(X), **CLOSE)
    for name, buffer in changed.named_buffers():
        torch.testing.assert_close(traced.get_buffer(name), buffer, **CLOSE)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of sizes that a trace fixes
@pytest.mark.parametrize("backend", ["auto", "cpp"])
def test_jit_trace_records_no_kernels(model: nn.Module, backend: str) -> None:
    for layer in model.modules():
        if isinstance(layer, NormAct):
            layer.backend, layer._computed = backend, 2**30
            layer._load_kernels()
    traced = torch.jit.trace(model, (X,))
    x = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(traced(x), model(x), **CLOSE)
    assert all(isinstance(layer._computed, int) for layer in model.modules() if isinstance(layer, NormAct))


def test_jit_script(model: nn.Module) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(model), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    torch.testing.assert_close(loaded(X), model(X), **CLOSE)
    kinds = {type(m) for m in model.modules()}
    assert type(copy.deepcopy(next(m for m in model.modules() if isinstance(m, NormAct)))) is NormAct
    assert {kind for kind in kinds if issubclass(kind, NormAct)} == {NormAct}, "the model itself stays as it is"
    training = torch.jit.script(copy.deepcopy(model).train())
    changed = copy.deepcopy(model).train()
    torch.testing.assert_close(training(X), changed(X), **CLOSE)
    for name, values in changed.named_buffers():
        torch.testing.assert_close(dict(training.named_buffers())[name], values, **CLOSE)


def test_a_scripted_layer_takes_every_rank() -> None:
    model = Sequences()
    evonas.swap(model, "evonorm-b0")
    model.eval()
    x = torch.randn(4, 3, 30)
    torch.testing.assert_close(torch.jit.script(model)(x), model(x), **CLOSE)


def test_averages_cannot_be_scripted_in_training() -> None:
    layer = NormAct("bn-relu", 3, momentum=None)
    with pytest.raises(evonas.UsageError, match="eval"):
        torch.jit.script(layer)
    assert torch.jit.script(layer.eval())(torch.zeros(2, 3, 4, 4)).shape == (2, 3, 4, 4)


@pytest.mark.parametrize("layer", ["evonorm-b0", LAYERS[-1]])
def test_compile_in_one_graph(layer: str) -> None:
    model = swapped(layer)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(X), model(X), **CLOSE)
    x = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    y = X.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(model(y).square().sum(), y)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layer", ["bn-relu", LAYERS[-1]])
def test_onnx(layer: str, tmp_path: Path) -> None:
    model = swapped(layer)
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnx.reference")
    path = tmp_path / "model.onnx"
    batch = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (X,), path, dynamo=True, verbose=False, dynamic_shapes=batch)
    x: Tensor = torch.randn(3, 3, 32, 32)
    session = runtime.ReferenceEvaluator(str(path))
    (value,) = session.run(None, {session.input_names[0]: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(value.copy()), model(x).detach(), **CLOSE)
