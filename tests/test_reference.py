"""Statistics of the reference against brute force: everything broadcast to the shape of x, in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.language.graph import Graph
from evonas.language.primitive_table import IndexSet, Moment
from evonas.layers.reference import accumulation_dtype, evaluate, groups_dividing, raw_moment
from tests.strategies import GROUPS, graphs, probe
from tests.test_primitives import DEFINITIONS

EPS = 1e-5
ARGUMENTS = (
    "x",
    "v1",
    "0",
    "mean_wh(x)",
    "std_whc(x)",
    "rms_whcg(x)",
    "mean_bwh(x)",
    "mean_whc(v1)",
    "x * v1",
)


def statistic(moment: str, index_set: str, full: np.ndarray, groups: int, eps: float = EPS) -> np.ndarray:
    """A statistic of SPEC section 1 of a (b, c, h, w) array, broadcast back to its shape."""
    b, c, h, w = full.shape
    cells = full.reshape(b, groups, c // groups, h, w)
    axes = {"bwh": (0, 3, 4), "whc": (1, 2, 3, 4), "wh": (3, 4), "whcg": (2, 3, 4), "c": (1, 2), "cg": (2,)}[index_set]
    mean = cells.mean(axes, keepdims=True)
    if moment == "mean":
        found = mean
    elif moment == "rms":
        found = np.sqrt((cells**2).mean(axes, keepdims=True) + eps)
    else:
        found = np.sqrt(((cells - mean) ** 2).mean(axes, keepdims=True) + eps)
    return np.broadcast_to(found, cells.shape).reshape(full.shape)


def brute_force(graph: Graph, x, parameters, groups: int, eps: float = EPS) -> np.ndarray:
    """A whole graph with every value broadcast to the shape of x."""
    leaves = {name: np.broadcast_to(v.numpy().reshape(1, -1, 1, 1), x.shape) for name, v in parameters.items()}
    values = [x.numpy(), np.zeros(x.shape), leaves["v0"], leaves["v1"]]
    for op, args in graph.nodes:
        if not args:
            values.append(leaves[op] if op in leaves else np.full(x.shape, float(op)))
            continue
        operands = [values[a] for a in args]
        with np.errstate(all="ignore"):
            if op in DEFINITIONS:
                values.append(DEFINITIONS[op](*operands, eps))
            else:
                values.append(statistic(*op.split("_"), operands[0], groups, eps))
    return values[graph.output]


@pytest.mark.parametrize("argument", ARGUMENTS)
@pytest.mark.parametrize("index_set", [i.value for i in IndexSet])
@pytest.mark.parametrize("moment", [m.value for m in Moment])
def test_statistic(moment, index_set, argument):
    graph = Graph.parse(f"{moment}_{index_set}({argument})")
    x, parameters = probe(3)
    found = evaluate(graph, x, parameters, groups=GROUPS)
    assert found.shape == x.shape
    # Sums of at most 120 numbers of order 1, in two orders: rounding of some 1e-16 each.
    np.testing.assert_allclose(found.numpy(), brute_force(graph, x, parameters, GROUPS), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 6, 1, 1), (5, 1, 2, 3), (2, 6, 3, 5), (3, 7, 4, 1)])
@pytest.mark.parametrize("groups", [1, 2, 3, 32])
def test_statistic_of_any_shape(shape, groups):
    x, parameters = probe(4, shape)
    dividing = groups_dividing(shape[1], groups)
    for moment in Moment:
        for index_set in IndexSet:
            graph = Graph.parse(f"{moment.value}_{index_set.value}(x * v1 - v0)")
            expected = brute_force(graph, x, parameters, dividing)
            np.testing.assert_allclose(
                evaluate(graph, x, parameters, groups=groups).numpy(), expected, rtol=1e-12, atol=1e-14
            )


@settings(max_examples=300)
@given(graphs())
def test_a_whole_graph(graph):
    x, parameters = probe(5)
    found = evaluate(graph, x, parameters, groups=GROUPS).numpy()
    expected = brute_force(graph, x, parameters, GROUPS)
    # A difference that should be 0 but rounds to 1e-17 turns into ±ln(eps) under log: where brute force
    # answers to a change of x by one part in 1e13 with more than 1e-9, the two cannot be compared.
    moved = brute_force(graph, x * (1 + 1e-13 * torch.sin(17 * x)), parameters, GROUPS)
    with np.errstate(all="ignore"):
        comparable = np.isfinite(expected) & (np.abs(moved - expected) <= 1e-9 * (1 + np.abs(expected)))
    np.testing.assert_allclose(found[comparable], expected[comparable], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("channels", "groups", "used"),
    [
        (48, 32, 24),
        (64, 32, 32),
        (32, 32, 32),
        (16, 32, 16),
        (1, 32, 1),
        (7, 4, 1),
        (12, 5, 4),
        (41, 32, 1),
        (6, 1, 1),
    ],
)
def test_groups_are_lowered_until_they_divide(channels, groups, used):
    assert groups_dividing(channels, groups) == used


@given(st.integers(1, 500), st.integers(1, 64))
def test_groups_dividing_is_the_largest_that_does(channels, groups):
    assert groups_dividing(channels, groups) == max(g for g in range(1, groups + 1) if channels % g == 0)


def test_variance_does_not_cancel():
    # Around 1e4, E[x²] − E[x]² in float32 would be wrong in its first digit: 1e8 holds no digit after 10.
    x, parameters = probe(6, (2, 4, 16, 16))
    shifted = (x + 1e4).float()
    for index_set in IndexSet:
        graph = Graph.parse(f"std_{index_set.value}(x)")
        found = (
            evaluate(graph, shifted, {name: value.float() for name, value in parameters.items()}, groups=GROUPS)
            .double()
            .numpy()
        )
        exact = brute_force(graph, shifted.double(), parameters, GROUPS)
        # The mean is rounded to 1e4 · 6e-8 = 6e-4, whose square is added to the variance: 2e-7 relative;
        # each deviation is exact to 1 part in 1e4 at most, and the sum averages over that. Of a few channels deviations
        # may be as small as that mean's rounding.
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=6e-4 if index_set in (IndexSet.C, IndexSet.CG) else 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_accumulates_in_float32_or_more(dtype):
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    assert accumulation_dtype(dtype) == wide
    x = probe()[0].to(dtype)
    assert evaluate(Graph.parse("x / std_wh(x)"), x).dtype == wide


def test_batch_statistic_is_asked_for_each_live_node_over_the_batch():
    asked = []

    def running(node, moment, argument):
        asked.append((node, moment, tuple(argument.shape)))
        return torch.full((1, 4, 1, 1), 4.0, dtype=argument.dtype)

    graph = Graph.parse("mean_bwh(x) + rms_bwh(v1) + std_bwh(mean_wh(x)) + mean_wh(x)")
    x, parameters = probe()
    found = evaluate(graph, x, parameters, batch_statistic=running)
    expected = 4 + 2 * (4 + EPS) ** 0.5 + x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(found, expected.expand_as(found))
    shapes = {Moment.MEAN: (3, 4, 5, 2), Moment.RMS: (1, 4, 1, 1), Moment.STD: (3, 4, 1, 1)}
    assert [(moment, shape) for _, moment, shape in asked] == list(shapes.items())
    assert [graph.node(node).op for node, *_ in asked] == ["mean_bwh", "rms_bwh", "std_bwh"]


def test_no_statistic_is_broadcast():
    shapes = {"bwh": (1, 4, 1, 1), "whc": (3, 1, 1, 1), "wh": (3, 4, 1, 1), "whcg": (3, 4, 1, 1), "c": (3, 1, 5, 2)}
    for index_set, shape in shapes.items():
        assert raw_moment(Moment.STD, IndexSet(index_set), probe()[0], GROUPS).shape == shape
    assert raw_moment(Moment.MEAN, IndexSet.WHCG, torch.ones(3, 1, 5, 2), 1).shape == (3, 1, 1, 1)
    # Up to the output, whose storage is that of one value a plane.
    x, _ = probe()
    assert evaluate(Graph.parse("mean_wh(x)"), x).untyped_storage().nbytes() == 3 * 4 * 8
