"""NormAct in numbers: types, memory formats, unusual shapes, and gradients against finite differences."""

import itertools
import warnings

import pytest
import torch
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call

from evonas.language.graph import Graph, trimmed
from evonas.language.primitive_table import Moment
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import evaluate, groups_dividing
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator
from tests.strategies import reads_x
from tests.test_layer import close, random
from tests.test_reference import brute_force

UNIT = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""Half a unit in the last place, relative: the error of rounding once."""
EXACT = (
    "evonorm-s0",
    "evonorm-b0",
    "bn-swish",
    "gn-relu",
    "ln-relu",
    "in-relu",
    "rmsnorm",
    "dyt",
    "evonorm-b1",
)
SHAPES = [
    (3, 7, 41, 3),
    (3, 7, 41, 41),
    (9, 7, 1, 41),
    (2, 41, 1, 1),
    (1, 1, 1, 1),
    (1, 6, 5, 4),
    (4, 1, 3, 3),
]


def layer_in_two_types(name: str, channels: int) -> tuple[NormAct, NormAct]:
    """A layer in float32 with random parameters, and the same in float64."""
    layer = NormAct(name, channels, groups=2)
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.add_(random(*parameter.shape, seed=seed, dtype=torch.float32) / 2)
    exact_layer = NormAct(name, channels, groups=2, dtype=torch.float64)
    exact_layer.load_state_dict(layer.state_dict())
    return layer, exact_layer


@pytest.mark.parametrize("dtype", UNIT)
@pytest.mark.parametrize("name", zoo)
def test_type_is_kept_and_values_are_rounded_once(name, dtype):
    layer, exact_layer = layer_in_two_types(name, 6)
    if dtype == torch.float64:
        layer = layer.double()
    x = (random(3, 6, 5, 4) * 2 + 0.5).to(dtype).requires_grad_()
    wide = x.detach().double().requires_grad_()
    dy = random(3, 6, 5, 4, seed=1).to(dtype)
    y, expected = layer(x), exact_layer(wide)
    y.backward(dy)
    expected.backward(dy.double())
    assert y.dtype == x.grad.dtype == dtype
    assert layer.weight.grad.dtype == layer.weight.dtype
    # Computed in float32 (sums of 60 numbers, a few dozen roundings of 6e-8: 1e-5 covers them), then
    # rounded once to the tensor's type. In float64 it is the same layer.
    computed = 1e-12 if dtype == torch.float64 else 1e-5
    for found, exact in ((y, expected), (x.grad, wide.grad)):
        error = (found.double() - exact).abs()
        assert (error <= UNIT[dtype] * exact.abs() + computed * (1 + exact.abs().max())).all()
    for (what, mine), his in zip(layer.named_parameters(), exact_layer.parameters(), strict=True):
        # Sums over the batch of products that were rounded as dy · y in float32.
        close(mine.grad.double(), his.grad, computed * 10 * (1 + his.grad.abs().max()))
        assert what
    for mine, his in zip(layer.buffers(), exact_layer.buffers(), strict=True):
        close(mine.double(), his, computed * (1 + his.abs().max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("index_set", ["bwh", "whc", "wh", "whcg"])
def test_statistics_of_short_types_are_accumulated_in_float32(index_set, dtype):
    # 64 × 64 values around 100: a running sum in bfloat16 stops growing at 256 · 100, in float16 at infinity,
    # and a variance in either has no digit right. Against the statistic of the same rounded numbers, float32
    # errs by 1e-4 at most (see test_variance_does_not_cancel), and the output is rounded once.
    x = (random(2, 4, 64, 64) + 100).to(dtype)
    for moment in Moment:
        layer = NormAct(f"{moment.value}_{index_set}(x)", 4, groups=2, affine=False)
        expected = brute_force(layer.graph, x.double(), {"v0": torch.zeros(4), "v1": torch.ones(4)}, 2)
        error = (layer(x).double() - torch.from_numpy(expected.copy())).abs()
        assert (error <= (UNIT[dtype] + 1e-4) * torch.from_numpy(expected.copy())).all()


@pytest.mark.parametrize("name", ["evonorm-s0", "bn-relu"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_module_may_be_moved_to_a_type(name, dtype):
    layer = NormAct(name, 4, groups=2).to(dtype)
    assert all(t.dtype == dtype for t in (*layer.parameters(), *layer.buffers()))
    x = random(2, 4, 3, 3).to(dtype)
    assert layer(x).dtype == dtype
    assert layer.eval()(x).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == dtype


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [*zoo, "mean_wh(x)", "v1"])
def test_memory_format_is_kept(name, training):
    layer, _ = layer_in_two_types(name, 6)
    layer.train(training)
    x = random(3, 6, 5, 4, dtype=torch.float32)
    plain, last = layer(x), layer(x.to(memory_format=torch.channels_last))
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    # float32 sums in two orders
    torch.testing.assert_close(last, plain, rtol=1e-5, atol=1e-5)
    strided = layer(x.repeat_interleave(2, dim=3)[..., ::2])
    torch.testing.assert_close(strided, plain, rtol=1e-5, atol=1e-5)
    assert strided.is_contiguous()


@pytest.mark.parametrize("expression", ["0", "v0", "v1", "mean_bwh(x)", "std_whc(x)", "rms_whcg(x)", "exp(0)"])
@pytest.mark.parametrize("affine", [True, False])
def test_a_narrow_output_fills_the_shape(expression, affine):
    x = random(3, 4, 5, 2, dtype=torch.float32)
    y = NormAct(expression, 4, groups=2, affine=affine)(x)
    assert y.shape == x.shape
    assert y.is_contiguous()
    y += 1  # an expanded view would refuse


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_ugly_shapes(name, shape):
    channels = shape[1]
    layer = NormAct(name, channels, groups=3, affine=False, dtype=torch.float64)
    with torch.no_grad():
        for seed, parameter in enumerate(layer.parameters()):
            parameter.add_(random(*parameter.shape, seed=seed) / 2)
    parameters = {name: value.detach() for name, value in layer.named_parameters()}
    parameters = {"v0": torch.zeros(channels), "v1": torch.ones(channels), **parameters}
    x = random(*shape, seed=3).requires_grad_()
    y = layer(x)
    exact = brute_force(layer.graph, x.detach(), parameters, groups_dividing(channels, 3))
    # Where a plane has one value, x / std divides by sqrt(eps): rounding grows by its inverse, 300.
    torch.testing.assert_close(y, torch.from_numpy(exact), rtol=1e-11, atol=1e-11, check_dtype=True)
    y.backward(random(*shape, seed=4))
    assert torch.isfinite(x.grad).all()


def distance_to_kinks(graph: Graph, x: torch.Tensor, parameters: dict[str, torch.Tensor]) -> float:
    """The smallest distance of an argument of a live operation from where its derivative jumps or is unbounded."""
    nearest = float("inf")
    for number in graph.operations:
        op, args = graph.node(number)
        values = [evaluate(trimmed(graph.nodes, a), x, parameters, groups=2) for a in args]
        if op in ("abs", "log", "sqrt", "div"):
            nearest = min(nearest, values[-1].abs().min().item())
        elif op == "max" and args[0] != args[1]:
            nearest = min(nearest, (values[0] - values[1]).abs().min().item())
        elif op.startswith(("rms", "std")):
            # sqrt(m + eps) is smooth, but curved within some 1e-2 of m = 0.
            nearest = min(nearest, evaluate(trimmed(graph.nodes, number), x, parameters, groups=2).min().item())
    return nearest


def gradcheck(layer: NormAct, x: torch.Tensor) -> None:
    names, values = zip(*layer.named_parameters(), strict=True)
    leaves = [value.detach().clone().requires_grad_() for value in values]

    def call(x, *values):
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    # Steps of 1e-6: truncation 1e-12 · f''' / 6 and rounding 2e-10 · f, with f and f' below 1e3 and f'''
    # bounded by the distance to kinks, stay under 1e-5 + 1e-3 |f'|.
    assert torch.autograd.gradcheck(call, (x.clone().requires_grad_(), *leaves), eps=1e-6, atol=1e-5, rtol=1e-3)


def test_gradients_of_random_graphs():
    """Sixty graphs that read x, and whose values at the probe are of moderate size and away from kinks."""
    checked, x = 0, random(2, 4, 2, 2, seed=2) * 1.5
    parameters = {name: random(4, seed=seed) for name, seed in (("v0", 5), ("v1", 6))}
    parameters |= {name: random(seed=seed) for name, seed in (("s0", 7), ("s1", 8))}
    for seed in itertools.count():
        assert seed < 400, f"only {checked} graphs of 800 could be checked"
        for space in SPACES.values():
            graph = space.random_graph(generator(seed))
            if not reads_x(graph):
                continue
            y = evaluate(graph, x, parameters, groups=2)
            if not y.abs().max() < 1e3 or distance_to_kinks(graph, x, parameters) < 0.02:
                continue
            layer = NormAct(graph, 4, groups=2, dtype=torch.float64)
            with torch.no_grad():
                for name, parameter in layer.named_parameters():
                    parameter.copy_(parameters.get(name, parameters["v0"]))
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(layer(leaf).sum(), leaf, allow_unused=True)
            if gradient is None or not gradient.abs().max() < 1e3:
                continue
            try:
                gradcheck(layer, x)
            except GradcheckError as error:
                raise AssertionError(f"{space.name}.random_graph(generator({seed})): {graph}") from error
            checked += 1
        if checked >= 60:
            return


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", zoo)
def test_gradients_of_the_zoo(name, training):
    _, layer = layer_in_two_types(name, 4)
    layer(random(3, 4, 2, 2, seed=9) * 2)
    layer.train(training)
    x = random(2, 4, 2, 2, seed=2) * 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradcheck(layer, x)
