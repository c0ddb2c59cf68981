"""What a new primitive can do without a change elsewhere; `test_new_primitive.py` runs it with `-p tests.softsign`."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.judging.functional_key import respond
from evonas.kernels.cpp.build import compiler
from evonas.kernels.cpp.run import CppLayer
from evonas.kernels.export.layer_file import export_layer
from evonas.kernels.triton.run import TritonLayer
from evonas.language.graph import Graph, Node
from evonas.layers.norm_act import NormAct
from evonas.search_spaces import SPACES
from evonas.settings.search_space import SearchSpace, generator
from tests import plain_filters, test_primitives
from tests.compiled_layers import SHAPES, UNEVEN, compare
from tests.exercise import exercise

test_primitives.DEFINITIONS["softsign"] = lambda a, eps: a / (1 + np.abs(a))

MINE = SearchSpace("mine", operations=("add", "mul", "div", "neg", "softsign", "std"), index_sets=("wh", "whcg"))
LAYERS = tuple(
    Graph.parse(text)
    for text in (
        "x * softsign(v1 * x) / std_whcg(x)",
        "softsign(x / std_bwh(softsign(x)) - v0) * softsign(mean_wh(x) + v1)",
    )
)


def test_new_primitive_is_drawn_in_a_space_of_its_own_and_in_no_published_one() -> None:
    drawn = [MINE.random_graph(generator(seed)) for seed in range(50)]
    count = sum(node.op == "softsign" for graph in drawn for node in graph.nodes)
    assert 20 < count < 150  # of 500 nodes, one in seven: 71 and a deviation of 8
    assert all("softsign" not in space.ops for space in SPACES.values())
    mutated = [MINE.mutate(drawn[0], generator(seed))[1] for seed in range(50)]
    assert any("-> softsign(" in change for change in mutated)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("softsign(-x)", "-softsign(x)"),
        ("x + softsign(0)", "x"),
        ("square(softsign(-x))", "square(softsign(x))"),
        ("softsign(x) - softsign(x) + v0", "v0"),
    ],
)
def test_new_primitive_is_simplified(before: str, after: str) -> None:
    assert Graph.parse(before).canonical == Graph.parse(after).canonical
    assert Graph.parse("abs(softsign(x))").key != Graph.parse("softsign(x)").key


def test_new_primitive_is_printed_and_read() -> None:
    graph = Graph.parse("softsign(x - v0) / std_wh(x)")
    assert Node("softsign", (5,)) in graph.nodes
    assert graph.expression() == "softsign(x - v0) / std_wh(x)"
    assert Graph.from_json(graph.to_json()) == graph
    assert graph.latex() == (r"\frac{\operatorname{softsign}\left(x - v_0\right)}{s_{w,h}\left(x\right)}")


@pytest.mark.parametrize("graph", LAYERS)
def test_new_primitive_passes_the_cheap_filters_whose_probes_agree_with_the_reference(graph: Graph) -> None:
    assert isinstance(CheapFilters().judge(graph, Tally()), Passed)
    for found, (output, gradient) in zip(respond(graph), plain_filters.respond(graph), strict=True):
        # Sums of a hundred numbers of order 1 in float64.
        np.testing.assert_allclose(found.output, output.numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.gradient, gradient.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("graph", LAYERS)
def test_new_primitive_has_the_gradient_that_finite_differences_have(graph: Graph) -> None:
    layer = NormAct(graph, 4, groups=2, dtype=torch.float64, backend="reference")
    x = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)


@pytest.mark.parametrize("on_chip", [False, True])
@pytest.mark.parametrize("graph", LAYERS)
def test_new_primitive_in_triton(graph: Graph, on_chip: bool) -> None:
    for shape in (SHAPES[0], UNEVEN):
        compare(graph, shape, partial(TritonLayer, on_chip=on_chip))
    compare(graph, UNEVEN, TritonLayer, training=False)


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("graph", LAYERS)
def test_new_primitive_in_cpp(graph: Graph, dtype: torch.dtype) -> None:
    for channels_last in (False, True):
        compare(graph, UNEVEN, CppLayer, channels_last=channels_last, dtype=dtype)


@pytest.mark.parametrize("graph", LAYERS)
def test_new_primitive_is_exported(graph: Graph, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("exported", export_layer(graph, tmp_path / "layer.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ours = NormAct(graph, 6, groups=2, dtype=torch.float64, backend="reference")
    theirs = module.Layer(6, groups=2, dtype=torch.float64)
    state = {name: value.clone() for name, value in ours.state_dict().items()}
    wanted, found = (exercise(layer, state, UNEVEN, torch.float64) for layer in (ours, theirs))
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        # Sums of a hundred numbers of order 1 in float64, in two orders.
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)
