"""Layers that are computed row by row: their plans, and their C++ kernels against the reference in float64."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from evonas.errors import UsageError
from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.kernels.cpp.build import compiler
from evonas.kernels.cpp.rows import parts_of
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.plan.rows import GROUP_MEAN, ROW_MEAN, row_plan_of
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.run_rows import TritonRowLayer
from evonas.language.graph import FIRST, Graph
from evonas.language.primitive_table import OPERATIONS
from evonas.language.zoo import zoo
from evonas.layers.backend import kernel_provider
from evonas.layers.backend_choice import choose_backend, goes_by_rows
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import memory_format
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator
from tests.compiled_layers import assert_close_to_exact, by_reference

needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
GOLDEN = Path(__file__).parent / "golden"
LAYERS = {name: graph for name, graph in zoo.items() if PlanKind.ROWS in kinds_of(graph)}
PARTICULAR = {
    "both": "x * sigmoid(v1 * x) / std_cg(x) * rms_wh(v1) + std_c(tanh(x))",
    "nested": "mean_c(x) * mean_cg(square(x)) + x * mean_cg(x * mean_c(v0 * x))",
    "nested the other way": "x * mean_c(tanh(x) * mean_cg(x * v1)) / rms_c(x / rms_cg(x))",
    "groups alone": "mean_cg(x) + mean_cg(v1) * std_cg(v0 + v1)",
    "no x in a statistic": "x * rms_c(s1) / rms_cg(v1) + mean_whc(v0) * x",
    "clamped": "x / max(mean_cg(tanh(x)), 0.1) / square(v0)",
    "no statistic": "max(s1 * x + s0, 0.25 * x) * v1 + log(2) * v0",
    "the affine alone": "x",
    "a constant": "rms_c(0) + v0 * 0",
    "one row statistic": "mean_c(x) * v1",
}
WIDTHS = [1, 3, 7, 12, 41, 768, 1000]
SHAPES = [(3, 5), (7,), (2, 3, 4), (1, 70), (0, 4), (2, 0)]


def compare(
    graph: Graph, shape: tuple[int, ...], dtype: torch.dtype, dim: int = -1, groups: int = 4, backend: str = "cpp"
) -> None:
    """Compares value and gradients of kernels with the reference in float64."""
    channels = shape[dim]
    reference = NormAct(graph, channels, groups, dtype=torch.float64, backend="reference", dim=dim)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=random, dtype=torch.float64) * 0.5)
    ours = NormAct(graph, channels, groups, dtype=dtype, backend=backend, dim=dim)
    ours.load_state_dict(reference.state_dict())
    x = (torch.randn(shape, generator=random, dtype=torch.float64) * 1.5 + 0.25).to(dtype)
    dy = torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)
    rough = by_reference(copy.deepcopy(reference).to(dtype), x, dy)
    right, found = by_reference(reference, x.double(), dy.double()), by_reference(ours, x, dy)
    scale = 1.0 if channels // groups > 1 else reference.eps**-0.5
    assert_close_to_exact(found, right, rough, dtype, scale)


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm-c", "headnorm"])
def test_the_plans_read_as_they_should(name: str) -> None:
    assert str(row_plan_of(zoo[name])) + "\n" == (GOLDEN / f"rows_{name}.txt").read_text()


KINDS = {
    "x / rms_c(x)": {PlanKind.ROWS},
    "x / rms_wh(x)": {PlanKind.PLANES},
    "tanh(x)": {PlanKind.PLANES, PlanKind.ROWS},
    "x * rms_c(s1)": {PlanKind.PLANES, PlanKind.ROWS},
    "x * rms_whc(v1)": {PlanKind.PLANES, PlanKind.ROWS},
    "x / rms_c(x) * std_wh(0)": {PlanKind.ROWS},
    "x * rms_c(mean_wh(x))": {PlanKind.PLANES},
    "x / rms_c(x) * std_wh(x)": set(),
    "x / rms_c(x) * rms_bwh(v1)": set(),  # which has a running value
}


@pytest.mark.parametrize("text", KINDS)
def test_which_kernels_a_layer_can_have(text: str) -> None:
    assert kinds_of(Graph.parse(text)) == KINDS[text]


def test_means_are_the_only_statistics_of_a_plan() -> None:
    for graph in (*LAYERS.values(), *map(Graph.parse, PARTICULAR.values())):
        plan = row_plan_of(graph)
        for one in (plan.forward, plan.backward):
            known: set[int] = set()
            for sweep in one.sweeps:
                for mean in sweep:
                    op, (argument,) = plan.nodes[mean - FIRST]
                    assert op in (ROW_MEAN, GROUP_MEAN) and plan.varies_in_sweep(argument)
                    assert means_below(plan.nodes, argument) <= known  # found by earlier sweeps
                known.update(sweep)
            for node in (one.written, *one.summed.values()):
                assert means_below(plan.nodes, node) <= known


def means_below(nodes: tuple, number: int) -> set[int]:
    """The means that a node depends on, and no other statistics are among what it depends on."""
    if number < FIRST:
        return set()
    op, args = nodes[number - FIRST]
    if op in (ROW_MEAN, GROUP_MEAN):
        return {number}
    assert op not in OPERATIONS or not OPERATIONS[op].is_aggregation
    return set().union(*(means_below(nodes, a) for a in args)) if args else set()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_the_zoo(name: str, dtype: torch.dtype) -> None:
    for width in WIDTHS:
        compare(LAYERS[name], (3, 5, width), dtype)


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("text", PARTICULAR.values(), ids=PARTICULAR)
def test_particular_layers(text: str, dtype: torch.dtype) -> None:
    for width in (12, 41):
        for shape in SHAPES:
            compare(Graph.parse(text), (*shape, width), dtype)


@needs_compiler
@pytest.mark.parametrize("width", [5000, 16_385])
def test_long_rows(width: int) -> None:
    for name in ("layernorm", "headnorm", "derf"):
        compare(zoo[name], (3, width), torch.float32)


@pytest.mark.parametrize("name", ["layernorm", "rmsnorm-c", "headnorm"])
def test_the_zoo_in_triton(name: str) -> None:
    for width in (1, 7, 12, 41, 768):
        compare(zoo[name], (3, 5, width), torch.float32, backend="triton")


IN_GROUPS = "x / rms_cg(x - mean_cg(v1 * x)) + s1 * std_cg(s0 + x) * mean_cg(v0)"


@pytest.mark.parametrize("text", [*PARTICULAR.values(), IN_GROUPS])
def test_particular_layers_in_triton(text: str) -> None:
    for shape in SHAPES[:4]:
        compare(Graph.parse(text), (*shape, 12), torch.float32, backend="triton")
    for groups, width in ((1, 7), (3, 21), (6, 6)):  # groups of every size, and numbers of them that fill no tile
        compare(Graph.parse(text), (3, 5, width), torch.float32, groups=groups, backend="triton")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_in_triton(dtype: torch.dtype) -> None:
    layer = NormAct("layernorm", 12, dim=-1, backend="triton")
    x = torch.randn(3, 5, 12).to(dtype).requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, NormAct("layernorm", 12, dim=-1, backend="reference")(x))
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype  # type: ignore[union-attr]  # it has a gradient


def test_layers_with_both_kinds_of_kernels_go_over_what_lies_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens (n, c) are n samples of one position: kernels of planes would have n programs with a position each."""
    gone: list[str] = []
    for kind in (TritonLayer, TritonRowLayer):
        forward = kind.forward
        monkeypatch.setattr(kind, "forward", lambda *a, _k=kind, _f=forward: gone.append(_k.__name__) or _f(*a))
    for shape, dim, expected in (
        ((5, 12), -1, TritonRowLayer),
        ((2, 3, 12), -1, TritonRowLayer),
        ((2, 40, 12), -1, TritonLayer),
        ((2, 12, 3, 3), 1, TritonLayer),
        ((2, 12, 1, 1), 1, TritonRowLayer),
    ):
        gone.clear()
        compare(zoo["derf"], shape, torch.float32, dim=dim, backend="triton")
        assert gone == [expected.__name__]


def test_numbers_of_planes_do_not_limit_rows() -> None:
    many = torch.empty(1, dtype=torch.float16).expand(2**16, 512, 1, 1)  # of 2**25 planes, and no memory
    assert choose_backend("triton", many) == "reference"
    assert choose_backend("triton", many, only_rows=True) == "triton"
    assert choose_backend("triton", torch.empty(2**16, 1, 1, 512).permute(0, 3, 1, 2), has_rows=True) == "triton"
    assert choose_backend("triton", torch.empty(1).expand(2**16, 512, 2, 2), has_rows=True) == "reference"
    # Nor is a row held that no program could hold.
    assert goes_by_rows(torch.empty(2, 2**14, 1, 1)) and not goes_by_rows(torch.empty(2, 2**14 + 1, 1, 1))
    assert choose_backend("triton", torch.empty(1).expand(2**30, 1, 1, 1), only_rows=True) == "reference"


def test_random_layers_in_triton() -> None:
    for label, graph in random_layers(30):
        try:
            compare(graph, (2, 3, 12), torch.float32, backend="triton")
        except AssertionError as error:
            raise AssertionError(f"{label}: {graph.written()}") from error


def random_layers(count: int) -> list[tuple[str, Graph]]:
    """Random graphs of `tokens` that pass the cheap filters, each with a label that reproduces it."""
    found, filters, seed = [], CheapFilters(), 0
    while len(found) < count:
        graph = SPACES["tokens"].random_graph(generator(seed))
        if isinstance(filters.judge(graph, Tally()), Passed):
            found.append((f"tokens {seed}", graph))
        seed += 1
    return found


def compare_random(count: int) -> None:
    for number, (label, graph) in enumerate(random_layers(count)):
        shape = (*SHAPES[number % 4], WIDTHS[number % len(WIDTHS)])
        try:
            compare(graph, shape, torch.float64 if number % 2 else torch.float32)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{label} on {shape}: {graph.written()}") from error


@needs_compiler
def test_random_layers() -> None:
    compare_random(24)


@needs_compiler
@pytest.mark.slow
def test_five_hundred_random_layers() -> None:
    compare_random(500)


@needs_compiler
def test_images_with_channels_first_and_last() -> None:
    """ConvNeXt's LayerNorm2d: kernels take channels last, and the output has the format of the input."""
    for name in ("layernorm", "headnorm"):
        compare(zoo[name], (2, 12, 5, 3), torch.float32, dim=1)
        layer = NormAct(name, 12, 4, backend="cpp")
        x = torch.randn(2, 12, 5, 3)
        for form in (torch.contiguous_format, torch.channels_last):
            assert memory_format(layer(x.contiguous(memory_format=form))) == form
    layer, x = NormAct("dyt", 6, backend="cpp"), torch.randn(2, 6, 5, 3)
    torch.testing.assert_close(layer(x.contiguous(memory_format=torch.channels_last)), layer(x))


@needs_compiler
def test_rows_that_are_not_contiguous() -> None:
    layer = NormAct("layernorm", 12, dim=-1, backend="cpp")
    x = torch.randn(5, 3, 24)
    for view in (x[..., ::2], x[..., :12], x.transpose(0, 1)[..., 12:]):
        torch.testing.assert_close(layer(view), layer(view.contiguous()))


@needs_compiler
def test_the_number_of_threads_changes_no_bit() -> None:
    before = torch.get_num_threads()
    layer = NormAct("headnorm", 96, 8, dim=-1, backend="cpp")
    x, dy = torch.randn(3, 2001, 96), torch.randn(3, 2001, 96)
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(by_reference(layer, x, dy))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one[name], found[0][name]) for one in found for name in one)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 511, 512, 513, 65_537, 1_000_000])
def test_parts_cover_all_rows(rows: int) -> None:
    each, parts = parts_of(rows)
    assert (parts - 1) * each < rows <= parts * each and 8 <= each <= 1024


@needs_compiler
def test_a_gradient_of_a_gradient() -> None:
    layer = NormAct("rmsnorm-c", 6, dim=-1, dtype=torch.float64, backend="cpp")
    assert torch.autograd.gradgradcheck(layer, torch.randn(3, 6, dtype=torch.float64, requires_grad=True))


@needs_compiler
def test_compiled_by_pytorch() -> None:
    layer = NormAct("layernorm", 12, dim=-1, backend="cpp")
    x = torch.randn(2, 5, 12, requires_grad=True)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    one, other = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (layer, compiled))
    torch.testing.assert_close(one, other)


def test_what_has_no_kernels_is_refused_or_computed_by_pytorch() -> None:
    mixed = "x / std_wh(x) * rms_c(x)"
    with pytest.raises(UsageError, match="backend 'cpp' has no kernels for 'x / std_wh"):
        NormAct(mixed, 4, backend="cpp")
    assert NormAct(mixed, 4)(torch.randn(2, 4, 3, 3)).shape == (2, 4, 3, 3)
    assert kernel_provider().backends(Graph.parse(mixed)) == frozenset()
    for text in ("x / rms_cg(x) * std_c(x)", "x / rms_c(x)", "tanh(x)"):
        assert kernel_provider().backends(Graph.parse(text)) == {"cpp", "triton"}
    assert choose_backend("cpp", torch.zeros(1, 2, 3, 4)) == "cpp"
