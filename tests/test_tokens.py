"""Layers for tokens, (…, c): against PyTorch's own, in every gradient, and what mixes positions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

C, EPS = 12, 1e-5
SHAPES = [(2, 5, C), (3, C), (2, 3, 4, C), (2, 1, 3, 2, 2, C), (1, 1, C), (0, 5, C), (2, 0, C)]


def heads(x: Tensor) -> Tensor:
    return F.rms_norm(x.unflatten(-1, (3, C // 3)), (C // 3,), eps=EPS).flatten(-2)


PUBLISHED = {
    "layernorm": lambda x, layer: F.layer_norm(x, (C,), layer.weight, layer.bias, EPS),
    "rmsnorm-c": lambda x, layer: F.rms_norm(x, (C,), layer.weight, EPS) + layer.bias,
    "headnorm": lambda x, layer: heads(x) * layer.weight + layer.bias,
    "dyt": lambda x, layer: torch.tanh(layer.s1 * x) * layer.weight + layer.bias,
    "derf": lambda x, layer: torch.erf(layer.s1 * x + layer.s0) * layer.weight + layer.bias,
}


def made(graph: Graph | str, **settings: object) -> NormAct:
    """A layer with random parameters in float64."""
    layer = NormAct(graph, C, groups=3, eps=EPS, dtype=torch.float64, dim=-1, **settings)  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=source, dtype=torch.float64) * 0.3)
    return layer


def gradients(y: Tensor, x: Tensor, layer: NormAct) -> list[Tensor]:
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], dy)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_layer_is_that_of_pytorch(name: str, shape: tuple[int, ...]) -> None:
    layer = made(name)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()
    found, right = gradients(layer(x), x, layer), gradients(PUBLISHED[name](x, layer), x, layer)
    assert found[0].is_contiguous()
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)  # sums of some dozens of numbers of order 1


def test_the_layer_norm_of_convnext_has_its_channels_first() -> None:
    layer = NormAct("layernorm", C, dtype=torch.float64)
    x = torch.randn(2, C, 3, 4, dtype=torch.float64)
    right = F.layer_norm(x.permute(0, 2, 3, 1), (C,), eps=EPS).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(x), right, rtol=1e-12, atol=1e-12)
    last = layer(x.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PUBLISHED)
def test_narrow_types(name: str, dtype: torch.dtype) -> None:
    layer = made(name)
    x = torch.randn(4, 7, C, generator=torch.Generator().manual_seed(4)).to(dtype)
    right = layer(x.double())
    y = copy.deepcopy(layer).float()(x)
    assert y.dtype == dtype
    unit = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), right, rtol=unit, atol=4 * max(unit, 1e-6))  # rounded once, to the type


@pytest.mark.parametrize("name", ["bn-relu", "evonorm-s0", "evonas-1"])
def test_a_layer_of_images_on_tokens_is_that_on_an_image_of_one_row(name: str) -> None:
    layer = made(name)
    image = NormAct(name, C, groups=3, eps=EPS, dtype=torch.float64)
    image.load_state_dict(layer.state_dict())
    x = torch.randn(3, 5, C, dtype=torch.float64)
    for _ in range(2):
        torch.testing.assert_close(layer(x), image(x.transpose(1, 2)).transpose(1, 2))
    layer.eval(), image.eval()
    torch.testing.assert_close(layer(x), image(x.transpose(1, 2)).transpose(1, 2))


def test_rows_that_are_not_contiguous() -> None:
    layer = made("layernorm")
    x = torch.randn(5, 2, 2 * C, dtype=torch.float64)
    for view in (x.transpose(0, 1)[..., ::2], x[:, :, :C], x[::2, :, C:]):
        torch.testing.assert_close(layer(view), layer(view.contiguous()))
        assert layer(view).is_contiguous()


@pytest.mark.slow
def test_gradients_of_two_hundred_random_graphs() -> None:
    checked, seed, space = 0, 0, SPACES["tokens"]
    while checked < 200:
        graph = space.random_graph(generator(seed)).canonical
        seed += 1
        if 0 not in graph.live:
            continue
        checked += is_smooth(made(graph, backend="reference"))
    assert seed < 10_000


def is_smooth(layer: NormAct) -> bool:
    """Checks the gradients of a layer; False where a kink or a value that is not finite is near."""
    x = (torch.randn(2, 3, C, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.1).requires_grad_()
    near = [layer(x.detach() * (1 + side * 1e-5)) for side in (-1, 1)]
    y = layer(x)
    if not all(one.isfinite().all() for one in (y, *near)) or y.abs().max() > 1e3:
        return False
    (dx,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    if dx is None or not dx.isfinite().all() or dx.abs().max() > 1e3 or dx.abs().max() == 0.0:
        return False
    try:
        return torch.autograd.gradcheck(layer, (x,), eps=1e-6, atol=1e-4, rtol=1e-3)
    except torch.autograd.gradcheck.GradcheckError:
        # A kink: one-sided differences disagree there, and so does another point nearby where there is none.
        other = (x.detach() * 1.01).requires_grad_()
        assert torch.autograd.gradcheck(layer, (other,), eps=1e-6, atol=1e-4, rtol=1e-3), layer
        return True


MIXES = {
    "x / rms_c(x)": False,
    "x / rms_cg(x) * tanh(s1 * x)": False,
    "x * rms_wh(s1) + mean_whc(v1)": False,  # of what is the same at all positions
    "x / std_wh(0)": False,
    "x / std_wh(x)": True,
    "x * mean_whc(x)": True,
    "x / std_whcg(x)": True,
    "x / rms_c(x) + mean_wh(tanh(x))": True,
    "x / std_bwh(x)": True,
}


@pytest.mark.parametrize("text", MIXES)
def test_what_mixes_positions(text: str) -> None:
    """By the graph, and by what happens to the first token when the last one changes."""
    graph = Graph.parse(text)
    assert graph.mixes_positions == MIXES[text]
    layer = made(graph, backend="reference")
    x = torch.randn(2, 5, C, dtype=torch.float64)
    later = x.clone()
    later[:, -1] += 1.0
    assert torch.equal(layer(x)[:, 0], layer(later)[:, 0]) != MIXES[text]


def test_no_layer_of_the_space_of_tokens_mixes_positions() -> None:
    for name in ("tokens", "tokens-pointwise"):
        assert not any(SPACES[name].random_graph(generator(seed)).mixes_positions for seed in range(500))
    assert any(SPACES["tokens-b"].random_graph(generator(seed)).mixes_positions for seed in range(500))


@pytest.mark.parametrize("shape", [(C,), (2, 5, C + 1), (2, C, 5), ()])
def test_inputs_that_are_no_tokens(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected an input of shape \(..., 12\) with two axes or more, got"):
        made("layernorm")(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected a floating-point input"):
        made("layernorm")(torch.zeros(2, C, dtype=torch.long))


@pytest.mark.parametrize("dim", [0, 2, -2, "last", None, True])
def test_other_axes_are_refused(dim: object) -> None:
    from evonas.errors import UsageError

    with pytest.raises(UsageError, match="dim must be 1, for inputs"):
        NormAct("layernorm", C, dim=dim)  # type: ignore[arg-type]


def test_in_a_model_compiled_exported_and_copied() -> None:
    layer = made("layernorm").float()
    x = torch.randn(2, 5, C)
    right = layer(x)
    model = nn.Sequential(nn.Identity(), copy.deepcopy(layer))
    torch.testing.assert_close(model(x), right)
    torch.testing.assert_close(torch.jit.script(copy.deepcopy(layer))(x), right)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("b"), 1: torch.export.Dim("t")},))
    torch.testing.assert_close(program.module()(torch.cat([x, x])), torch.cat([right, right]))
    assert "dim=-1" in repr(layer) and zoo["layernorm"] == layer.graph
