"""Values are split into a part that varies within planes and coefficients that are constant on them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from evonas.kernels.plan.plane_algebra import affine, factored, varies_within_planes
from evonas.kernels.plan.planner import plan_of
from evonas.language.expression import add_text
from evonas.language.graph import FIRST, INPUTS, V0, V1, ZERO, Graph, X
from evonas.language.primitive_table import OPERATIONS
from evonas.language.rewriter import Rewriter
from evonas.language.simplify import rewriter
from evonas.layers.reference import apply
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator
from tests.strategies import GROUPS, probe
from tests.test_plan import assert_computes

# Few operations, so that values which can be split occur often.
LINEAR = replace(SPACES["evonorm"], operations=("add", "mul", "div", "neg", "square", "tanh", "mean", "std"), nodes=12)
NAMES = {name: number for number, name in enumerate(INPUTS)}
# A value, and its atom, of which it is an affine function; the value itself if it cannot be split.
ATOMS = [
    ("x + v0", "x"),
    ("v0 - x", "x"),
    ("-(x + v0)", "x"),
    ("(x + v0) * v1", "x"),
    ("v1 * (v0 - x)", "x"),
    ("(x + v0) * std_wh(x)", "x"),
    ("(x + v0) / std_wh(x)", "x"),
    ("-((x - mean_bwh(x)) / std_bwh(x)) * v1 + v0", "x"),
    ("(x + v0) / (x + v1)", "(x + v0) / (x + v1)"),
    ("v0 / x", "v0 / x"),
    ("x * (x + v0)", "x * (x + v0)"),
    ("(tanh(x) + v0) * v1 + tanh(x) / v1", "tanh(x)"),
    ("(x + v0) * v1 + (tanh(x) + v1)", "(x + v0) * v1 + (tanh(x) + v1)"),
    ("(x + v0) * v1 + (x - v1) / std_whc(x)", "x"),
    ("square(x + v0)", "square(x + v0)"),
    ("mean_wh(x) * v1", None),
]


def rewriter_of(graph: Graph) -> Rewriter:
    r = rewriter(OPERATIONS)
    r.load(graph.nodes)
    return r


def values_of(r: Rewriter) -> list[Tensor]:
    """The value of every node in float64, by the reference."""
    x, parameters = probe(5)
    values = [torch.zeros(())] * FIRST
    values[X], values[ZERO] = x, torch.zeros((1, 1, 1, 1), dtype=x.dtype)
    values[V0], values[V1] = (parameters[v].view(1, -1, 1, 1) for v in ("v0", "v1"))
    for name, args in r.builder.nodes:
        values.append(apply(OPERATIONS[name], [values[a] for a in args], GROUPS, 1e-5))
    return values


def assert_equal(found: Tensor, right: Tensor, size: Tensor, name: str) -> None:
    if found.isfinite().all() and right.isfinite().all():
        # A few roundings of 1e-16 of the largest term, far from what a term too many or too few would change.
        limit = 1e-12 * max(1.0, float(size.abs().max()))
        assert float((found - right).abs().max()) <= limit, name


@pytest.mark.parametrize(("text", "atom"), ATOMS)
def test_the_atom_is_what_is_left_when_planes_are_taken_out(text: str, atom: str | None) -> None:
    r = rewriter_of(Graph.parse(text))
    number = FIRST + len(r.builder.nodes) - 1
    found = affine(r, number)
    assert found.atom == (None if atom is None else add_text(atom, r.builder.add, NAMES, OPERATIONS))
    assert not varies_within_planes(r, found.scale) and not varies_within_planes(r, found.shift)
    values = values_of(r)
    product = values[found.scale] * values[ZERO if found.atom is None else found.atom]
    assert_equal(product + values[found.shift], values[number], values[number], text)


def test_values_are_what_they_are_taken_apart_into() -> None:
    """scale · atom + shift, and factor · rest, for the nodes of random graphs."""
    apart = 0
    for seed in range(150):
        graph = LINEAR.random_graph(generator(seed))
        r, label = rewriter_of(graph), f"{seed}: {graph.written()}"
        numbers = range(FIRST, graph.last + 1)
        parts = [(affine(r, n), factored(r, n)) for n in numbers]
        values = values_of(r)
        for number, ((scale, atom, shift), (plane, rest)) in zip(numbers, parts, strict=True):
            product = values[scale] * values[ZERO if atom is None else atom]
            assert_equal(product + values[shift], values[number], product.abs() + values[shift].abs(), label)
            assert_equal(values[plane] * values[rest], values[number], values[number], label)
            assert not varies_within_planes(r, plane)
            apart += atom not in (None, number) or rest not in (r.one(), number)
    assert apart > 100


@pytest.mark.parametrize("statistic", ["mean_wh", "mean_bwh", "rms_wh", "rms_whc", "std_whcg", "std_bwh"])
@pytest.mark.parametrize(
    "argument",
    ["(x + v0) * std_wh(x)", "(x + v0) * v1", "(x + v0) / std_wh(x)", "-(x + v0)", "v0 - x / v1", "x * v1 + (v0 - x)"],
)
def test_a_statistic_of_what_was_shifted_and_then_scaled(statistic: str, argument: str) -> None:
    graph = Graph.parse(f"x * {statistic}({argument})")
    assert assert_computes(graph)
    assert assert_computes(graph, training=False)
    assert len(plan_of(graph).sweeps) == 1  # of x alone
