"""`AddNorm`: the sum with a residual and the layer of it, by row kernels and in two steps, against float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import evonas
from evonas.kernels import add_norm as kernels
from evonas.kernels.cpp.build import BuildError, compiler
from evonas.kernels.cpp.run import CppLayer
from evonas.kernels.triton.run_rows import TritonRowLayer
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.add_norm import AddNorm
from evonas.layers.backend import kernel_provider
from evonas.layers.norm_act import NormAct
from tests.compiled_layers import assert_close_to_exact
from tests.test_rows import LAYERS, PARTICULAR, SHAPES, random_layers

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
WIDTHS = [1, 7, 12, 41, 768]


def results(layer: AddNorm, tensors: tuple[Tensor, ...], uses: str = "yr") -> dict[str, Tensor]:
    """The value, the sum, and all gradients of a loss that uses both or one of them."""
    x, residual, dy, dr = tensors
    x, residual = x.clone().requires_grad_(), residual.clone().requires_grad_()
    y, r = layer(x, residual)
    pairs = [(y, dy)] * ("y" in uses) + [(r, dr)] * ("r" in uses)
    named = {"x": x, "residual": residual, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(
        [t for t, _ in pairs], list(named.values()), [d for _, d in pairs], allow_unused=True
    )
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True))
    return {"y": y.detach(), "r": r.detach(), **dict(zip(named, zeros, strict=True))}


def compare(
    graph: Graph | str, shape: tuple[int, ...], dtype: torch.dtype, backend: str, uses: str = "yr", dim: int = -1
) -> None:
    """Compares with the reference in float64."""
    random = torch.Generator().manual_seed(0)
    reference = AddNorm(graph, shape[dim], 4, dtype=torch.float64, backend="reference", dim=dim)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=random, dtype=torch.float64) * 0.5)
    ours = AddNorm(graph, shape[dim], 4, dtype=dtype, backend=backend, dim=dim)
    ours.load_state_dict(reference.state_dict())
    tensors = [(torch.randn(shape, generator=random, dtype=torch.float64) + 0.2).to(dtype) for _ in range(4)]
    if dim == 1 and len(shape) == 4:
        tensors = [t.contiguous(memory_format=torch.channels_last) for t in tensors]
    rough = results(copy.deepcopy(reference).to(dtype), tuple(tensors), uses)
    right = results(reference, tuple(t.double() for t in tensors), uses)
    scale = 1.0 if shape[dim] // ours.groups > 1 else ours.eps**-0.5
    assert_close_to_exact(results(ours, tuple(tensors), uses), right, rough, dtype, scale)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passes that row kernels with a residual have run, in order."""
    calls: list[str] = []

    def count(kind: type, name: str) -> None:
        original: Callable[..., object] = getattr(kind, name)

        def run(*arguments: object) -> object:
            calls.append(name.split("_")[0])
            return original(*arguments)

        monkeypatch.setattr(kind, name, run)

    for kind in (CppLayer, TritonRowLayer):
        count(kind, "forward_of_sum")
        count(kind, "backward_of_sum")
    return calls


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("uses", ["yr", "y", "r"])
def test_the_zoo(uses: str, dtype: torch.dtype) -> None:
    for graph in LAYERS.values():
        for width in WIDTHS:
            compare(graph, (3, 5, width), dtype, "cpp", uses)


@needs_compiler
@pytest.mark.parametrize("text", PARTICULAR.values(), ids=PARTICULAR)
def test_particular_layers(text: str) -> None:
    for shape in SHAPES:
        compare(text, (*shape, 12), torch.float32, "cpp")


@needs_compiler
def test_random_layers() -> None:
    for number, (label, graph) in enumerate(random_layers(16)):
        try:
            compare(graph, (*SHAPES[number % 4], WIDTHS[number % 5]), torch.float32, "cpp")
        except AssertionError as error:
            raise AssertionError(f"{label}: {graph.written()}") from error


@pytest.mark.parametrize("uses", ["yr", "y"])
@pytest.mark.parametrize("name", ["layernorm", "rmsnorm-c", "headnorm", "dyt", "x / rms_cg(x) * std_c(x)"])
def test_the_zoo_in_triton(name: str, uses: str, counted: list[str]) -> None:
    for width in (1, 7, 12, 41, 768):
        compare(name, (3, 5, width), torch.float32, "triton", uses)
    assert counted == ["forward", "backward"] * 5


@needs_compiler
def test_kernels_add_where_they_can(counted: list[str]) -> None:
    x, residual = torch.randn(2, 3, 12, requires_grad=True), torch.randn(2, 3, 12)
    for layer, expected in (
        (AddNorm("layernorm", 12, backend="cpp"), 1),
        (AddNorm("dyt", 12, backend="cpp"), 1),
        (AddNorm("evonorm-s0", 12, backend="cpp"), 0),  # its statistic is taken over positions
        (AddNorm("layernorm", 12, backend="reference"), 0),
        (AddNorm("layernorm", 12), 0),  # not yet worth building
    ):
        counted.clear()
        y, r = layer(x, residual)
        (y + r).sum().backward()
        assert counted == ["forward", "backward"] * expected
        torch.testing.assert_close(r, x + residual)
    images = torch.randn(2, 12, 3, 4)
    counted.clear()
    first, last = (
        AddNorm("layernorm", 12, backend="cpp", dim=1)(t, t)
        for t in (images, images.contiguous(memory_format=torch.channels_last))
    )
    assert counted == ["forward"]
    torch.testing.assert_close(first, last)


@needs_compiler
def test_images_with_channels_last() -> None:
    compare("layernorm", (2, 12, 3, 4), torch.float32, "cpp", dim=1)
    compare("evonorm-b0", (2, 12, 3, 4), torch.float32, "cpp", dim=1)


@needs_compiler
def test_rows_that_are_not_contiguous() -> None:
    layer = AddNorm("layernorm", 12, backend="cpp")
    x, residual = torch.randn(5, 3, 24), torch.randn(3, 5, 12)
    found = layer(x[..., ::2], residual.transpose(0, 1))
    torch.testing.assert_close(found, layer(x[..., ::2].contiguous(), residual.transpose(0, 1).contiguous()))


@needs_compiler
def test_one_tensor_as_both_inputs() -> None:
    layer, x = AddNorm("rmsnorm-c", 12, backend="cpp"), torch.randn(4, 12, requires_grad=True)
    y, r = layer(x, x)
    (one,) = torch.autograd.grad((y + r).sum(), x)
    doubled = x * 2
    (other,) = torch.autograd.grad((NormAct("rmsnorm-c", 12, dim=-1)(doubled) + doubled).sum(), x)
    torch.testing.assert_close(one, other)


def test_the_layer_of_a_narrow_sum_is_that_of_what_is_stored(counted: list[str]) -> None:
    """y follows from r as the next layers read it, not from a sum in float32."""
    x, residual = (torch.randn(4, 12).to(torch.bfloat16).requires_grad_() for _ in range(2))
    y, r = AddNorm("rmsnorm-c", 12, backend="triton")(x, residual)
    assert counted == ["forward"] and y.dtype == r.dtype == torch.bfloat16
    torch.testing.assert_close(
        r, x + residual, rtol=2**-7, atol=0.0
    )  # Triton's interpreter rounds to bfloat16 downwards
    torch.testing.assert_close(y, NormAct("rmsnorm-c", 12, dim=-1, backend="reference")(r), rtol=2**-7, atol=0.0)
    (y + r).sum().backward()
    assert x.grad is not None and x.grad.dtype == torch.bfloat16 and torch.equal(x.grad, residual.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["triton", pytest.param("cpp", marks=needs_compiler), "reference"])
def test_a_narrow_input_and_a_wide_residual(backend: str, counted: list[str]) -> None:
    """As under autocast: linear layers give bfloat16, and the residual is float32."""
    x, residual = torch.randn(4, 12).to(torch.bfloat16).requires_grad_(), torch.randn(4, 12, requires_grad=True)
    y, r = AddNorm("rmsnorm-c", 12, backend=backend)(x, residual)
    assert y.dtype == r.dtype == torch.float32 and bool(counted) == (backend == "triton")
    torch.testing.assert_close(r, x + residual)
    torch.testing.assert_close(y, NormAct("rmsnorm-c", 12, dim=-1, backend="reference")(x + residual))
    (y.square() + r).sum().backward()
    assert x.grad is not None and residual.grad is not None
    assert x.grad.dtype == torch.bfloat16 and residual.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, residual.grad.to(torch.bfloat16))


@needs_compiler
@pytest.mark.parametrize("text", ["layernorm", "x / rms_cg(x) + mean_c(v1 * x)"])
def test_gradients_of_gradients(text: str) -> None:
    layer = AddNorm(text, 8, 4, dtype=torch.float64, backend="cpp")
    inputs = [torch.randn(3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(layer, inputs)
    assert torch.autograd.gradgradcheck(lambda x, residual: layer(x, residual)[0], inputs)


@needs_compiler
@pytest.mark.parametrize("uses", ["yr", "y"])
def test_compiled_by_pytorch(uses: str, counted: list[str]) -> None:
    layer = AddNorm("layernorm", 12, backend="cpp")
    tensors = tuple(torch.randn(2, 5, 12) for _ in range(4))
    plain = results(layer, tensors, uses)
    traced = copy.copy(layer)
    traced.forward = torch.compile(layer.forward, backend="aot_eager", fullgraph=True)  # type: ignore[method-assign]
    torch.testing.assert_close(results(traced, tensors, uses), plain)
    assert counted == ["forward", "backward"] * 2


@needs_compiler
def test_the_operators_hold_what_they_promise() -> None:
    x, residual, dy, dr = (torch.randn(2, 6, 3, 1).contiguous(memory_format=torch.channels_last) for _ in range(4))
    x.requires_grad_()
    weight, bias = torch.ones(6, requires_grad=True), torch.zeros(6, requires_grad=True)
    settings = ("cpp", zoo["layernorm"].to_json(), 2, 1e-5)
    torch.library.opcheck(kernels._add_norm, (x, residual, [weight, bias], *settings))
    torch.library.opcheck(kernels._add_norm_backward, (dy, dr, x.detach(), [weight, bias], *settings))
    torch.library.opcheck(kernels._add_norm_backward, (dy, None, x.detach(), [weight, bias], *settings))


@needs_compiler
def test_transforms_of_functions_are_computed_by_the_reference() -> None:
    layer = AddNorm("rmsnorm-c", 6, backend="cpp")
    x, residual = torch.randn(5, 3, 6), torch.randn(5, 3, 6)
    mapped = torch.func.vmap(layer)(x, residual)
    torch.testing.assert_close(mapped, layer(x, residual))
    _, (tangent, _) = torch.func.jvp(layer, (x, residual), (x, x))
    _, other = torch.func.jvp(NormAct("rmsnorm-c", 6, dim=-1), (x + residual,), (2 * x,))
    torch.testing.assert_close(tangent, other)


def test_the_state_is_that_of_the_layer_alone() -> None:
    one, other = NormAct("layernorm", 6, dim=-1), AddNorm("layernorm", 6)
    other.load_state_dict(one.state_dict())
    assert other.dim == -1 and "AddNorm" in repr(other)
    assert AddNorm("evonorm-b0", 6).state_dict().keys() == NormAct("evonorm-b0", 6).state_dict().keys()
    assert copy.deepcopy(other)(torch.ones(2, 6), torch.ones(2, 6))[1].sum() == 24


def test_what_does_not_fit_is_refused() -> None:
    layer = AddNorm("layernorm", 6)
    with pytest.raises(ValueError, match=r"one shape, got \(2, 6\) and \(6,\)"):
        layer(torch.ones(2, 6), torch.ones(6))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 6\)"):
        layer(torch.ones(2, 5), torch.ones(2, 5))
    for backend in ("auto", "triton"):
        with pytest.raises(ValueError, match="floating-point"):
            AddNorm("layernorm", 6, backend=backend)(*(torch.ones(2, 6, dtype=torch.long) for _ in range(2)))


def test_triton_leaves_float64_to_the_addition() -> None:
    """Its kernels compute in float32, and the sum is the residual of all that follows."""
    x, residual = torch.full((2, 6), 1.0, dtype=torch.float64), torch.full((2, 6), 2.0**-40, dtype=torch.float64)
    _, r = AddNorm("layernorm", 6, backend="triton")(x, residual)
    assert torch.equal(r, x + residual) and r[0, 0] > 1.0


@needs_compiler
def test_a_compiler_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> object:
        raise BuildError("no compiler")

    x = torch.randn(2, 6)
    monkeypatch.setattr("evonas.layers.backend_choice._given_up", [])
    monkeypatch.setattr("evonas.layers.backend_choice.BREAK_EVEN", 0)
    monkeypatch.setattr(CppLayer, "forward_of_sum", fails)
    with pytest.warns(UserWarning, match="C\\+\\+ kernels cannot be built any more"):
        y, r = AddNorm("rmsnorm-c", 6)(x, x)
    torch.testing.assert_close(y, NormAct("rmsnorm-c", 6, dim=-1)(r))
    with pytest.raises(BuildError):
        AddNorm("rmsnorm-c", 6, backend="cpp")(x, x)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(6, 6), evonas.AddNorm("layernorm", 6)

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        y, residual = self.norm(self.inner(x), residual)
        return y, residual


def test_traced_scripted_and_exported() -> None:
    block, inputs = Block(), (torch.randn(2, 3, 6), torch.randn(2, 3, 6))
    expected = block(*inputs)
    traced = torch.fx.symbolic_trace(block)
    torch.testing.assert_close(traced(*inputs), expected)
    assert [n.target for n in traced.graph.nodes if n.op == "call_module"] == ["inner", "norm"]
    scripted, keys = torch.jit.script(block), list(block.state_dict())
    torch.testing.assert_close(scripted(*inputs), expected)
    assert list(scripted.state_dict()) == list(block.state_dict()) == keys
    torch.testing.assert_close(block(*inputs), expected)
    assert type(block.norm) is AddNorm and list(block.state_dict()) == keys
    torch.testing.assert_close(torch.jit.trace(block, inputs)(*inputs), expected)
    torch.testing.assert_close(torch.export.export(block, inputs).module()(*inputs), expected)


def test_which_kernels_can_add() -> None:
    adding = kernel_provider().rows
    assert adding(zoo["layernorm"]) == adding(zoo["dyt"]) == {"cpp", "triton"}
    assert adding(Graph.parse("x / rms_cg(x) * std_c(x)")) == {"cpp", "triton"}
    assert adding(zoo["evonorm-s0"]) == adding(zoo["bn-relu"]) == frozenset()
