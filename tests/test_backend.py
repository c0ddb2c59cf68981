"""NormAct by kernels, as PyTorch's own layers are used. Kernels run in Triton's interpreter, on small inputs."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from evonas.errors import UsageError
from evonas.kernels.cpp import run as cpp_run
from evonas.kernels.cpp.calls import build_calls
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.backend_choice import BREAK_EVEN, choose_backend
from evonas.layers.norm_act import NormAct

ROOT = Path(__file__).parent.parent

SHAPE = (2, 6, 4, 3)
SOME = ("evonorm-b0", "evonorm-s0", "bn-relu", "dyt")


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    """PyTorch compiles one function at most eight times, counted over all tests."""
    yield
    torch.compiler.reset()


@pytest.fixture(params=["triton", "cpp", "cpp from Python"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every backend that makes kernels; C++ kernels also without their operator, called from Python."""
    name = str(request.param)
    if name == "cpp":
        assert build_calls() is None
    elif name == "cpp from Python":
        monkeypatch.setattr(cpp_run, "calls", lambda: None)
    return name.split()[0]


def both(graph: str | Graph, backend: str, **settings: Any) -> tuple[NormAct, NormAct]:
    """The same layer, computed by the reference and by kernels."""
    reference = NormAct(graph, SHAPE[1], groups=2, backend="reference", **settings)
    with torch.no_grad():
        for p in reference.parameters():
            p.add_(torch.rand_like(p) * 0.5)
    kernels = NormAct(graph, SHAPE[1], groups=2, backend=backend, **settings)
    kernels.load_state_dict(reference.state_dict())
    return reference, kernels


def gradients(layer: Any, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    (layer(x) * torch.arange(x.numel(), dtype=x.dtype).view(x.shape).cos()).sum().backward()
    assert x.grad is not None
    return [x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)]


def same(one: list[Tensor], two: list[Tensor]) -> None:
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        # Sums of 144 numbers of about 1 in float32, in two orders.
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SOME)
def test_the_layer_is_the_same(name: str, backend: str) -> None:
    reference, kernels = both(name, backend)
    x = torch.randn(SHAPE)
    same(gradients(reference, x), gradients(kernels, x))
    same(list(reference.buffers()), list(kernels.buffers()))
    same([reference.eval()(x)], [kernels.eval()(x)])


@pytest.mark.parametrize("training", [True, False])
def test_settings_reach_the_kernels(training: bool, backend: str) -> None:
    """Groups that do not divide the channels, and values of eps and momentum that change the results visibly."""
    graph, settings = "x / std_whcg(x) + rms_bwh(x) / v1", {"groups": 4, "eps": 0.25, "momentum": 0.3}
    layers = [NormAct(graph, SHAPE[1], backend=by, **settings) for by in ("reference", backend)]
    x = torch.randn(SHAPE)
    for layer in layers:
        layer.train(training)
    same(*([*gradients(layer, x), *layer.buffers()] for layer in layers))


SEVERAL = "x * mean_bwh(x) + std_bwh(tanh(x)) / rms_bwh(x) + mean_bwh(square(x)) * v1 + v0"


@pytest.mark.parametrize("training", [True, False])
def test_what_is_traced_is_the_same(training: bool, backend: str) -> None:
    """A traced call uses the operators; here with different running values, and an input in each memory format."""
    layers = both(SEVERAL, backend)
    for layer in layers:
        for number, buffer in enumerate(layer.buffers()):
            buffer.add_(0.3 * number)
        layer.train(training)
    compiled = torch.compile(layers[1], backend="eager", fullgraph=True)
    for x in (torch.randn(SHAPE), torch.randn(6, 2, 3, 4).permute(1, 0, 3, 2)):
        for layer in layers:
            layer.zero_grad()
        right = gradients(layers[0], x)
        leaf = x.clone().requires_grad_()
        (compiled(leaf) * torch.arange(x.numel(), dtype=x.dtype).view(x.shape).cos()).sum().backward()
        assert leaf.grad is not None
        same(right, [leaf.grad, *(p.grad for p in layers[1].parameters() if p.grad is not None)])
        same(list(layers[0].buffers()), list(layers[1].buffers()))


def test_running_values_of_another_type_and_with_gaps_are_updated(backend: str) -> None:
    reference, kernels = both("x * mean_bwh(x) + std_bwh(tanh(x)) / rms_bwh(x)", backend)
    if backend == "cpp":  # Triton's kernels need contiguous vectors
        kernels.running_mean = torch.zeros(2 * SHAPE[1])[::2]
    kernels.running_var = torch.ones(SHAPE[1], dtype=torch.float64)
    x = torch.randn(SHAPE)
    for layer in (reference, kernels):
        layer(x), layer(2 * x)
    assert kernels.running_var.dtype == torch.float64
    same([b.float() for b in reference.buffers()], [b.float() for b in kernels.buffers()])
    assert bool((reference.running_mean != 0).all())


def test_what_is_traced_in_float64_is_as_exact() -> None:
    layers = both(SEVERAL, "cpp", dtype=torch.float64)
    x = torch.randn(SHAPE, dtype=torch.float64)
    y = torch.compile(layers[1], backend="eager", fullgraph=True)(x)
    torch.testing.assert_close(y, layers[0](x), rtol=1e-12, atol=1e-12)  # sums of 24 values in float64
    for one, other in zip(layers[0].buffers(), layers[1].buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_traced_is_left_to_whatever_traces_it(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(SHAPE)
    assert choose_backend("auto", x, BREAK_EVEN) == "cpp"
    assert choose_backend("auto", x, BREAK_EVEN - 1) == "reference"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert choose_backend("auto", x, BREAK_EVEN) == "reference"


def test_without_an_affine(backend: str) -> None:
    x = torch.randn(SHAPE)
    same(*([*gradients(layer, x), layer(x)] for layer in both("evonorm-s0", backend, affine=False)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, backend: str) -> None:
    reference, kernels = both("evonorm-s0", backend)
    x = torch.randn(SHAPE).to(dtype)
    y = kernels(x)
    # Both round once, at the end: by at most one unit in the last place of 8 or 11 bits.
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), reference(x).float(), rtol=2**-7, atol=1e-3)


def test_memory_formats_stay(backend: str) -> None:
    reference, kernels = both("bn-relu", backend)
    x = torch.randn(SHAPE).contiguous(memory_format=torch.channels_last)
    y = kernels(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    same([y], [reference(x)])
    crooked = torch.randn(6, 2, 3, 4).permute(1, 0, 3, 2)  # neither
    same([kernels(crooked)], [reference(crooked)])


@pytest.mark.parametrize("name", SOME)
def test_one_tensor_of_the_size_of_x_is_kept(name: str, backend: str) -> None:
    _, kernels = both(name, backend)
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    x = torch.randn(SHAPE, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kernels(x)
    planes = SHAPE[0] * SHAPE[1]
    assert [t.numel() for t in kept if t.numel() >= x.numel()] == [x.numel()]
    assert sum(t.numel() for t in kept) - x.numel() <= 8 * planes  # a few numbers a plane


@pytest.mark.parametrize("name", SOME)
def test_pytorch_checks_the_operator(name: str, backend: str) -> None:
    from evonas.kernels.torch_operator import norm_act

    _, layer = both(name, backend)
    assert layer.weight is not None and layer.bias is not None
    leaves = [getattr(layer, leaf.name).detach().expand(6).clone() for leaf in layer.graph.parameters]
    parameters = [layer.weight.detach(), layer.bias.detach(), *(leaf.requires_grad_() for leaf in leaves)]
    buffers = list(layer.buffers())
    running = torch.stack(buffers) if buffers else None
    x = torch.randn(SHAPE, requires_grad=True)
    torch.library.opcheck(norm_act, (x, parameters, running, backend, layer.graph.to_json(), True, 2, 1e-5, 0.1))


@pytest.mark.parametrize("name", ["evonorm-b0", "evonorm-s0"])
def test_torch_compile(name: str, backend: str) -> None:
    _, layer = both(name, backend)
    model = nn.Sequential(nn.Conv2d(6, 6, 1), layer)
    x = torch.randn(SHAPE)
    compiled = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)
    same(gradients(model, x), gradients(compiled, x))


def test_torch_export(backend: str) -> None:
    _, layer = both("bn-relu", backend)
    x = torch.randn(SHAPE)
    exported = torch.export.export(layer.eval(), (x,))
    same([exported.module()(x)], [layer(x)])


def test_autocast_keeps_the_type_of_the_input(backend: str) -> None:
    _, layer = both("evonorm-s0", backend)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(SHAPE)).dtype == torch.float32
        assert layer(torch.randn(SHAPE).bfloat16()).dtype == torch.bfloat16


def test_checkpointing_and_copies(backend: str) -> None:
    _, layer = both("evonorm-s0", backend)
    x = torch.randn(SHAPE)
    plain = gradients(copy.deepcopy(layer), x)

    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.layer, x, use_reentrant=False)  # type: ignore[no-any-return]  # torch leaves it untyped

    same(plain, gradients(Checkpointed(), x))


def test_a_second_derivative_is_that_of_the_reference(backend: str) -> None:
    x = torch.randn(SHAPE)
    found = []
    for layer in both("evonorm-s0", backend):
        at = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(at).square().sum(), at, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), at)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-3, atol=1e-3)  # float32, through two derivatives


def test_the_same_bits_every_time(backend: str) -> None:
    _, layer = both("evonorm-b0", backend)
    x = torch.randn(SHAPE)
    first = gradients(copy.deepcopy(layer), x)
    assert all(torch.equal(a, b) for a, b in zip(first, gradients(copy.deepcopy(layer), x), strict=True))


def test_auto_takes_kernels_on_a_gpu_alone() -> None:
    x = torch.randn(SHAPE)
    found = {backend: choose_backend(backend, x) for backend in ("auto", "reference", "triton")}
    assert found == {"auto": "reference", "reference": "reference", "triton": "triton"}
    if torch.cuda.is_available():
        assert [choose_backend("auto", x.cuda()), choose_backend("auto", x.double().cuda())] == ["triton", "reference"]


def test_a_module_in_half_precision() -> None:
    layer = NormAct("evonorm-b0", SHAPE[1], backend="triton").bfloat16()
    plain = NormAct("evonorm-b0", SHAPE[1], backend="reference").bfloat16()
    x = torch.randn(SHAPE).bfloat16()
    found, wanted = gradients(layer, x), gradients(plain, x)
    assert {g.dtype for g in found} == {torch.bfloat16}
    for a, b in [*zip(found, wanted, strict=True), *zip(layer.buffers(), plain.buffers(), strict=True)]:
        # Both compute in float32 and round to 8 bits; v1's gradient the reference rounds before it has all of it.
        torch.testing.assert_close(a.float(), b.float(), rtol=2**-7, atol=2**-6 * float(b.abs().max()))


def test_gradients_that_nobody_asks_for(backend: str) -> None:
    reference, kernels = both("evonorm-b0", backend)
    x = torch.randn(SHAPE)
    for layer in (reference, kernels):
        for p in layer.parameters():
            p.requires_grad_(p is layer.v1)
    found = []
    for layer in (reference, kernels):
        layer(x).square().sum().backward()
        assert layer.v1 is not None and layer.v1.grad is not None
        assert [name for name, p in layer.named_parameters() if p.grad is not None] == ["v1"]
        found.append([layer.v1.grad])
    same(*found)


@pytest.mark.parametrize("name", ["evonorm-b0", "evonorm-s0"])
def test_a_gradient_in_another_memory_format(name: str, backend: str) -> None:
    def strided(layer: NormAct, x: Tensor) -> list[Tensor]:
        x = x.clone().requires_grad_()
        dy = torch.arange(x.numel(), dtype=x.dtype).view(6, 2, 3, 4).permute(1, 0, 3, 2).cos()
        layer(x).backward(dy)
        layer(x).sum().backward()  # one number, expanded
        assert x.grad is not None
        return [x.grad]

    x = torch.randn(SHAPE)
    same(*(strided(layer, x) for layer in both(name, backend)))
    last = x.contiguous(memory_format=torch.channels_last)
    same(*(strided(layer, last) for layer in both(name, backend)))


def test_running_values_are_known_to_have_changed(backend: str) -> None:
    _, layer = both("bn-relu", backend)
    before = [b._version for b in layer.buffers()]
    layer(torch.randn(SHAPE))
    assert all(b._version > version for b, version in zip(layer.buffers(), before, strict=True))


def test_transforms_of_functions(backend: str) -> None:
    reference, kernels = both("evonorm-s0", backend)
    x = torch.randn(SHAPE)

    def slope(layer: NormAct) -> list[Tensor]:
        return [torch.func.grad(lambda x: layer(x).square().sum())(x)]

    same(slope(reference), slope(kernels))


def test_distributed_data_parallel(tmp_path: Path, backend: str) -> None:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        _, layer = both("evonorm-b0", backend)
        x = torch.randn(SHAPE)
        plain = gradients(copy.deepcopy(layer), x)
        same(plain, gradients(nn.parallel.DistributedDataParallel(copy.deepcopy(layer)), x))
    finally:
        torch.distributed.destroy_process_group()


def test_an_input_beyond_32_bits_is_left_to_the_reference() -> None:
    # Made of one number each: nothing is stored.
    assert choose_backend("triton", torch.zeros(1).expand(2, 2, 2**15, 2**15)) == "reference"
    assert choose_backend("triton", torch.zeros(1).expand(2**13, 2**12, 1, 1)) == "reference"
    small_samples = torch.zeros(1).expand(2**12, 2**8, 2**7, 2**7)  # 64 GiB in all
    assert choose_backend("triton", small_samples) == "triton"


def test_an_empty_batch_has_no_kernels(backend: str) -> None:
    _, layer = both("bn-relu", backend)
    assert choose_backend(backend, torch.randn(0, 6, 4, 3)) == "reference"
    assert layer(torch.randn(0, 6, 4, 3)).shape == (0, 6, 4, 3)


def test_a_name_that_is_no_backend() -> None:
    with pytest.raises(UsageError, match="unknown backend 'cuda'"):
        NormAct(zoo["dyt"], 4, backend="cuda")


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    from evonas.layers import backend as backends

    backends.has_triton.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(backends, "find_spec", lambda name: None)
    try:
        with pytest.raises(UsageError, match="needs the package triton"):
            NormAct(zoo["dyt"], 4, backend="triton")
        assert NormAct(zoo["dyt"], 4)(torch.randn(1, 4, 2, 2)).shape == (1, 4, 2, 2)
    finally:
        backends.has_triton.cache_clear()


COLD = """
import sys
import torch
from evonas.layers.norm_act import NormAct, computed_by
backend, made = sys.argv[1:]
layer = NormAct("evonorm-s0", 4, backend="reference" if made == "set" else backend)
if made == "set":
    computed_by(layer, backend)
x = torch.randn(2, 4, 3, 3)
compiled = torch.compile(layer, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(x), layer(x))
torch.export.export(NormAct("evonorm-s0", 4, backend=backend), (x,), strict=True)
"""


@pytest.mark.parametrize("made", ["built", "set"])
@pytest.mark.parametrize("backend", ["triton", "cpp", "reference"])
def test_the_first_call_of_a_process_is_traced(backend: str, made: str) -> None:
    """In a process in which no kernel was called before, torch.compile finds them registered."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", COLD, backend, made]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
