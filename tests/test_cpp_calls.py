"""The operator that calls C++ kernels, compared with the same calls from Python."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evonas.kernels.cpp import build as cpp_build
from evonas.kernels.cpp import calls as cpp_calls
from evonas.kernels.cpp import run as cpp_run
from evonas.kernels.cpp.build import BuildError, Options, compiler
from evonas.kernels.cpp.calls import Calls, build_calls
from evonas.kernels.layer_cache import compiled_layer
from evonas.layers.norm_act import NormAct
from tests.compiled_layers import at_once
from tests.strategies import ZOO_OF_PLANES

SHAPE = (3, 6, 5, 4)
pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def operator() -> Calls:
    assert build_calls() is None
    found = cpp_calls.calls()
    assert found is not None
    return found


def steps(layer: NormAct, x: Tensor) -> list[Tensor]:
    """All results of two training steps and an evaluation: outputs, gradients and running values."""
    found = []
    for _ in range(2):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        y = layer(leaf)
        (y * torch.arange(y.numel(), dtype=y.dtype).view(y.shape).cos()).sum().backward()
        assert leaf.grad is not None
        found += [y.detach(), leaf.grad]
    with torch.no_grad():
        found.append(layer.eval()(x))
    leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    layer(leaf).sum().backward()  # in evaluation, with gradients
    assert leaf.grad is not None
    return [*found, leaf.grad, *(p.grad for p in layer.parameters() if p.grad is not None), *layer.buffers()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ZOO_OF_PLANES)
def test_the_operator_and_python_give_the_same_bits(
    name: str, channels_last: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(SHAPE, dtype=dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    one = NormAct(name, SHAPE[1], groups=2, backend="cpp", dtype=dtype)
    two = copy.deepcopy(one)
    found = steps(one, x)
    monkeypatch.setattr(cpp_run, "calls", lambda: None)
    wanted = steps(two, x)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b) and a.stride() == b.stride() and a.dtype == b.dtype


def test_a_gradient_of_the_same_layout_is_not_copied() -> None:
    """Rows are seen as planes with one position, where the stride of an axis may be anything."""
    layer = NormAct("layernorm", 64, dim=-1, backend="cpp")
    x = torch.randn(32, 64, requires_grad=True)
    y = layer(x)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        y.backward(torch.randn(32, 64))
    assert "aten::copy_" not in {event.key for event in profile.key_averages()}


def test_parameters_of_another_type_than_the_input() -> None:
    """Kernels receive copies; gradients have the type of the parameters, and running values are copied back."""
    wide = NormAct("evonorm-b0", SHAPE[1], backend="cpp").double()
    narrow = NormAct("evonorm-b0", SHAPE[1], backend="cpp")
    x = torch.randn(SHAPE)
    for a, b in zip(steps(wide, x), steps(narrow, x), strict=True):
        # Running values are rounded to float32 once in every step.
        torch.testing.assert_close(a.float(), b, rtol=1e-6, atol=1e-6)
    assert {p.grad.dtype for p in wide.parameters() if p.grad is not None} == {torch.float64}


def test_a_backward_pass_outlives_its_layer() -> None:
    """A search forgets thousands of layers, and their libraries are unloaded."""
    layer = NormAct("tanh(v1 * x) / rms_wh(x) + x", SHAPE[1], backend="cpp")
    x = torch.randn(SHAPE, requires_grad=True)
    y, wanted = layer(x), NormAct(layer.graph, SHAPE[1], backend="reference")(x)
    del layer
    compiled_layer.cache_clear()
    gc.collect()
    (found,) = torch.autograd.grad(y.sum(), x)
    # Sums of 20 numbers of about 1 in float32, in two orders.
    torch.testing.assert_close(found, torch.autograd.grad(wanted.sum(), x)[0], rtol=1e-5, atol=1e-5)


def test_inference_mode_and_running_values_that_were_read() -> None:
    layer = NormAct("bn-relu", SHAPE[1], backend="cpp")
    x = torch.randn(SHAPE)
    with torch.inference_mode():
        assert layer(x).is_inference() and layer.eval()(x).is_inference()
    layer.train()
    read = layer.get_buffer("running_mean") * torch.ones(6, requires_grad=True)
    layer(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        read.sum().backward()


def test_threads_that_share_a_layer() -> None:
    layer = NormAct("evonorm-s0", SHAPE[1], groups=2, backend="cpp")
    x = torch.randn(SHAPE)
    wanted, found = layer(x), []

    def work() -> None:
        for _ in range(50):
            leaf = x.clone().requires_grad_()
            y = layer(leaf)
            torch.autograd.grad(y.sum(), leaf)
            found.append(torch.equal(y, wanted))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


def test_a_compiler_that_cannot_build_it_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    monkeypatch.setattr(cpp_calls, "_state", [])
    # Without the headers of PyTorch
    monkeypatch.setattr(cpp_calls, "_options", lambda openmp: Options(("-std=c++20", "-w"), (), "calls"))
    assert "could not compile" in str(build_calls.__wrapped__())
    layer = NormAct("evonorm-s0", SHAPE[1], groups=2, backend="cpp")
    assert bool(layer(torch.randn(SHAPE)).isfinite().all())
    assert not list((tmp_path / "calls").glob("*.so"))


def test_what_was_cut_short_is_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "half.so"
    path.write_bytes(b"\x7fELF")
    assert cpp_calls._loaded(path) is None
    assert not path.exists()


def test_a_layer_that_was_cut_short_is_built_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    x = torch.randn(SHAPE)

    def value() -> Tensor:
        compiled_layer.cache_clear()
        gc.collect()  # nothing has the library loaded any more
        return NormAct("tanh(x) * sigmoid(v1 * x)", SHAPE[1], backend="cpp")(x).detach()

    wanted = value()
    compiled_layer.cache_clear()
    gc.collect()
    for library in (tmp_path / "cpp").glob("*.so"):
        library.unlink()
        library.write_bytes(b"\x7fELF")
    assert torch.equal(value(), wanted)


def test_a_compiler_that_builds_nothing_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVONAS_CACHE", str(tmp_path))
    monkeypatch.setattr(cpp_build, "compiler", lambda: "/bin/true")
    with pytest.raises(BuildError, match="cannot be loaded"):
        cpp_build.build("int works() { return 1; }")
    assert "cannot be loaded" in str(cpp_build.trouble.__wrapped__())
    assert not list(tmp_path.rglob("*.so"))


def build_in(folder: str) -> None:
    import os

    os.environ["EVONAS_CACHE"] = folder
    assert build_calls() is None


@pytest.mark.slow
def test_of_workers_that_ask_at_once_one_builds(tmp_path: Path) -> None:
    at_once(build_in, str(tmp_path))
    assert sorted(p.suffix for p in (tmp_path / "calls").iterdir()) == ["", ".cpp", ".so"]


_WITHOUT_OPENMP = """
import sys, torch
from evonas import NormAct
from evonas.kernels.cpp.calls import build_calls, calls
assert build_calls() is None and calls() is not None
torch.manual_seed(0)
layer = NormAct("layernorm", 64, dim=-1, backend="cpp")
x = torch.randn(4096, 64, requires_grad=True)
y = layer(x)
y.pow(2).sum().backward()
torch.save({"y": y.detach(), "dx": x.grad, **{n: p.grad for n, p in layer.named_parameters()}}, sys.argv[1])
"""


def test_a_compiler_without_openmp_builds_the_operator_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Apple's clang does. Threads of the library do the work then, with the same bits."""
    path = compiler()
    assert path is not None
    refuses = tmp_path / "c++"
    refuses.write_text(
        f'#!/bin/sh\ncase " $* " in *" -fopenmp "*) echo no OpenMP >&2; exit 1;; esac\nexec {path} "$@"\n'
    )
    refuses.chmod(0o755)
    results = []
    for chosen, folder in ((str(path), None), (str(refuses), tmp_path / "cache")):
        monkeypatch.setenv("CXX", chosen)
        if folder is not None:
            monkeypatch.setenv("EVONAS_CACHE", str(folder))
        file = tmp_path / f"{len(results)}.pt"
        subprocess.run([sys.executable, "-c", _WITHOUT_OPENMP, str(file)], check=True)
        results.append(torch.load(file, weights_only=True))
    assert len(list((tmp_path / "cache" / "calls").glob("*.so"))) == 1
    assert all(torch.equal(value, results[1][name]) for name, value in results[0].items())
