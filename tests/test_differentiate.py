"""The backward pass as a graph, against autograd of the reference in float64."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from evonas.language.differentiate import DY, WEIGHT, pull
from evonas.language.graph import FIRST, ZERO, Graph, Node, X
from evonas.language.leaf import leaf_named
from evonas.language.listing import listing
from evonas.language.primitive_table import OPERATIONS, PRIMITIVES, IndexSet, Primitive
from evonas.language.simplify import rewriter
from evonas.language.varying_axes import Extent
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import apply
from tests.compiled_layers import SMALL
from tests.strategies import GROUPS, SHAPE, probe, seeded_graphs

GOLDEN = {
    "evonorm-s0": """
t1 = sigmoid(v1 * x)
t2 = std_whcg(x)
t3 = x * t1 / t2
t4 = dy * weight / t2
t5 = x * t4 * (t1 * (1 - t1))
d_x = v1 * t5 + (t4 * t1 - (x - mean_whcg(x)) * (mean_whcg(t4 * t3) / t2))
sums to d_v1 = x * t5
sums to d_weight = dy * t3
sums to d_bias = dy
""",
    "bn-relu": """
t1 = x - mean_bwh(x)
t2 = std_bwh(x)
t3 = t1 / t2
t4 = t3 * v1 + v0
t5 = dy * weight * share(t4, 0)
t6 = v1 * t5 / t2
d_x = t6 - t1 * (mean_bwh(t3 * t6) / t2) - mean_bwh(t6)
sums to d_v0 = t5
sums to d_v1 = t3 * t5
sums to d_weight = dy * max(t4, 0)
sums to d_bias = dy
""",
}


@dataclass(frozen=True)
class Backward:
    """The gradients of `weight · graph + bias`: all nodes, d_x among them, and the nodes that sum to the others."""

    nodes: tuple[Node, ...]
    dx: int
    densities: Mapping[str, int]

    def __str__(self) -> str:
        sums = {f"sums to d_{name}": node for name, node in self.densities.items()}
        return "\n".join(listing(self.nodes, {"d_x": self.dx, **sums}))


def backward(graph: Graph, training: bool = True) -> Backward:
    """The backward pass of a layer and its affine; in evaluation statistics over the batch are like inputs."""
    r = rewriter(OPERATIONS)
    r.load(graph.nodes, training)
    dy, weight = r.leaf(DY, Extent.FULL), r.leaf(WEIGHT, Extent.CHANNEL)

    def passes(number: int) -> bool:
        op = r.op(number)
        return training or op is None or op.index_set is not IndexSet.BWH

    adjoints = pull(r, graph.output, r.add("mul", weight, dy), passes)
    leaves = {number: graph.leaf(number) for number in graph.live}
    trained = {n: leaf.name for n, leaf in leaves.items() if leaf is not None and leaf.is_parameter}
    densities = {name: adjoints.get(number, ZERO) for number, name in trained.items()}
    densities |= {"weight": r.add("mul", dy, graph.output), "bias": dy}
    assert graph.nodes == tuple(r.builder.nodes[: graph.last + 1 - FIRST])
    return Backward(tuple(r.builder.nodes), adjoints.get(X, ZERO), densities)


@pytest.mark.parametrize("name", GOLDEN)
def test_it_reads_as_one_would_write_it(name: str) -> None:
    assert str(backward(zoo[name])) == GOLDEN[name].strip()


def layer_of(graph: Graph) -> tuple[NormAct, Tensor, Tensor]:
    """A layer with random parameters, an input and a gradient of its output, in float64."""
    x, starts = probe(1)
    layer = NormAct(graph, SHAPE[1], groups=GROUPS, dtype=torch.float64)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            start = starts.get(name)
            parameter.copy_(torch.randn(SHAPE[1], generator=random, dtype=torch.float64) if start is None else start)
    return layer, x.requires_grad_(), torch.randn(SHAPE, generator=random, dtype=torch.float64)


def by_autograd(layer: NormAct, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(("x", x), *layer.named_parameters(), strict=True)
    found = torch.autograd.grad(layer(x), parameters, dy, allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True))
    return dict(zip(names, zeros, strict=True))


def by_graph(derived: Backward, layer: NormAct, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """The gradients that the derived graph gives, evaluated by PyTorch with broadcasting."""

    def vector(name: str) -> Tensor:
        value = getattr(layer, name, None)
        return torch.zeros((1, 1, 1, 1), dtype=x.dtype) if value is None else value.detach().view(1, -1, 1, 1)

    zero = torch.zeros((1, 1, 1, 1), dtype=x.dtype)
    values = [x.detach(), zero, vector("v0"), vector("v1")]
    leaves: Mapping[str, Tensor] = {"dy": dy, "weight": vector("weight")}
    for name, args in derived.nodes:
        given, leaf = leaves.get(name), leaf_named(name)
        if args:
            given = apply(OPERATIONS[name], [values[a] for a in args], GROUPS, layer.eps)
        elif leaf is not None:
            given = vector(name) if leaf.value is None else torch.full_like(zero, leaf.value)
        assert given is not None
        values.append(given)
    over = {name: (0, 1, 2, 3) if name in ("s0", "s1") else (0, 2, 3) for name in derived.densities}
    sums = {name: values[n].expand(x.shape).sum(over[name]) for name, n in derived.densities.items()}
    return {"x": values[derived.dx].expand(x.shape), **sums}


def assert_agrees(graph: Graph) -> bool:
    """Compares both gradients where they are finite; whether the gradient of x is finite and not 0."""
    layer, x, dy = layer_of(graph)
    right, found = by_autograd(layer, x, dy), by_graph(backward(graph), layer, x, dy)
    assert set(right) == set(found)
    for name, gradient in right.items():
        if gradient.isfinite().all():
            # Rounding is that of the largest values on the way, which cancel in layers that hardly depend on x.
            size = max(1.0, float(gradient.abs().max()))
            torch.testing.assert_close(found[name], gradient, rtol=1e-7, atol=1e-9 * size, msg=f"gradient of {name}")
    return bool(right["x"].isfinite().all() and right["x"].abs().max() > 0)


@pytest.mark.parametrize("name", zoo)
def test_the_zoo(name: str) -> None:
    assert assert_agrees(zoo[name]) and assert_agrees(zoo[name].canonical)


def test_random_graphs() -> None:
    compared = 0
    for label, graph in seeded_graphs(1000):
        try:
            compared += assert_agrees(graph)
        except AssertionError as error:
            raise AssertionError(f"{label}: {graph.written()}") from error
    # Most random graphs ignore x or are constant; of the 2,000, those whose gradient is a number and not 0.
    assert compared >= 500


@pytest.mark.parametrize("op", PRIMITIVES.values(), ids=lambda op: op.name)
def test_every_row_has_a_derivative_for_each_argument(op: Primitive) -> None:
    assert len(op.derivative) == op.arity
    arguments = ["x * v1 - v0", "tanh(x) + v0"][: op.arity]
    assert assert_agrees(Graph.parse(f"x + {op.name}({', '.join(arguments)})"))


def test_in_evaluation_batch_statistics_are_given() -> None:
    graph = zoo["bn-relu"]
    derived = backward(graph, training=False)
    assert all(n.op != "mean_bwh" for n in derived.nodes[len(graph.nodes) :])
    assert "d_x = v1 * t4 / t1" in str(derived)


def test_ties_and_clamps() -> None:
    """At a tie both arguments of max get half of the gradient; a divisor inside the clamp gets none."""
    assert assert_agrees(Graph.parse("max(x, x * v1) + max(x, x)"))
    assert assert_agrees(Graph.parse("x / (x - x + zero) + x"))
    assert assert_agrees(
        Graph.parse("(x + 0 * x) / max(tanh(x) - tanh(x), v0 - v0) + abs(x - x) + log(x - x) + sqrt(x)")
    )


@pytest.mark.parametrize("divisor", SMALL)
def test_a_small_divisor_has_no_gradient(divisor: str) -> None:
    assert assert_agrees(Graph.parse(f"x / ({divisor}) + x"))


@pytest.mark.parametrize(
    ("divisor", "clamped"),
    [
        ("std_wh(x)", False),
        ("rms_bwh(v1)", False),
        ("max(x, std_wh(x))", False),
        ("max(x, v1)", True),
        ("max(mean_wh(x), x)", True),
        ("mean_wh(x)", True),
        ("x", True),
    ],
)
def test_only_a_divisor_that_may_be_small_is_clamped(divisor: str, clamped: bool) -> None:
    derived = backward(Graph.parse(f"tanh(x) / {divisor}"))
    assert ("kept(" in str(derived)) is clamped


def test_forward_nodes_keep_their_numbers() -> None:
    graph = Graph.from_json('{"nodes": [["mean_bwh", [0]], ["mean_bwh", [0]], ["add", [4, 5]], ["add", [6, 0]]]}')
    assert backward(graph).nodes[: len(graph.nodes)] == graph.nodes
