"""Families: what published and other layers do, and that the way a layer is written does not matter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.judging.families import SEED, UNCLEAR, Family, family_of, inputs, measure
from evonas.judging.numpy_evaluation import Probe, Probes
from evonas.language.graph import Graph, Node
from evonas.language.zoo import zoo
from tests.strategies import graphs, seeded_graphs

PUBLISHED = {
    "evonorm-b0": "bwh+wh, scale-free, rectifies",
    "evonorm-b1": "bwh+wh, scale-free, rectifies",
    "evonorm-b2": "bwh+wh, scale-free, rectifies",
    "evonorm-s0": "whcg, scale-free, rectifies with a dip",
    "evonorm-s1": "whcg, scale-free, rectifies with a dip",
    "evonorm-s2": "whcg, scale-free, rectifies with a dip",
    "bn-relu": "bwh, scale-free, rectifies",
    "gn-relu": "whcg, scale-free, rectifies",
    "ln-relu": "whc, scale-free, rectifies",
    "in-relu": "wh, scale-free, rectifies",
    "bn-swish": "bwh, scale-free, rectifies with a dip",
    "rmsnorm": "whc, scale-free, linear",
    "dyt-channels": "no statistics, saturates, bounded",
    "layernorm": "c, scale-free, linear",
    "rmsnorm-c": "c, scale-free, linear",
    "headnorm": "cg, scale-free, linear",
    **dict.fromkeys(("dyt", "derf", "isru", "expsign"), "no statistics, saturates, bounded"),
    "evonas-1": "bwh+whc, sublinear, rectifies with a dip",
    "evonas-2": "bwh+whcg, scale-free, rectifies with a dip",
    "evonas-3": "bwh+whc, scale-free, rectifies with a dip",
}

OTHERS = {
    "x": "no statistics, proportional, linear",
    "abs(x)": "no statistics, proportional, folds",
    "max(x, 0)": "no statistics, proportional, rectifies",
    "x * sigmoid(x)": "no statistics, proportional, rectifies with a dip",
    "tanh(x + x)": "no statistics, saturates, bounded",
    "square(x)": "no statistics, superlinear, folds",
    "sqrt(x)": "no statistics, sublinear, both sides grow",
    "exp(x)": "no statistics, superlinear, rectifies",  # also where it overflows
    "x * exp(-square(x))": "no statistics, shrinks, bounded with a bend",
    "sigmoid(square(x))": "no statistics, saturates, bounded with a bend",  # constant at large scales
    "x - mean_wh(x)": "wh, proportional, linear",
    "x / std_wh(x)": "wh, scale-free, linear",
    "x / std_bwh(x)": "bwh, scale-free, linear",
    "(x - mean_whcg(x)) / std_whcg(x)": "whcg, scale-free, linear",
    "x / (std_wh(x) + std_whc(x))": "whc+wh, scale-free, linear",
    "x / max(std_bwh(x), rms_whcg(x))": "bwh+whcg, scale-free, linear",
    "x / max(x, std_bwh(abs(x)))": "bwh, scale-free, rectifies",
    "x / square(std_wh(x))": "wh, shrinks, linear",
    "x * std_whc(x)": "whc, superlinear, linear",
    "abs(x) / std_bwh(x)": "bwh, scale-free, folds",
    "tanh(x / std_wh(x))": "wh, scale-free, bounded",
    "max(x, x / rms_bwh(x))": "bwh, proportional, both sides grow",
    "max(x, -tanh(v1 + v1))": "no statistics, proportional, rectifies",
    "std_wh(x) + tanh(x)": "wh, proportional, bounded",
    "x / (std_wh(x) + std_wh(x) * max(0, log(x)))": "wh, scale-free, both sides grow",
    "x / (std_wh(x) * sigmoid(square(std_wh(x))))": "wh, scale-free, linear",
    "x * sigmoid(x) / std_bwh(max(x, sigmoid(x)))": "bwh, scale-free, rectifies with a dip",
    "x / max(x, std_whc(mean_wh(x)))": "whc+wh, scale-free, rectifies",
    "std_wh(x)": "wh, proportional, unclear shape",
    "exp(exp(exp(square(x))))": "unclear statistics, superlinear, unclear shape",
}

AT_POSITIONS = [
    (f"x / std_{one}(x) + 0.3 * x / std_{other}(x)", {one, other})
    for one in ("bwh", "whc", "wh", "whcg", "c", "cg")
    for other in ("c", "cg")
]
"""Layers with a statistic at single positions, and the index sets that they depend on."""

SAME = [
    ("x / std_wh(x)", "-(x / rms_wh(x - mean_wh(x) + v0))"),
    ("x / std_bwh(x)", "x / (std_bwh(x) * v1 + v0 * std_wh(x))"),  # multiplied by zero at the start
    ("x / std_bwh(x)", "x / max(std_bwh(x), -std_whc(x))"),  # never the larger one
    ("x / std_wh(x)", "x / std_wh(x + mean_bwh(x) - rms_whc(x))"),  # a shift that a standard deviation ignores
    ("x / rms_whc(x)", "x / sqrt(mean_whc(square(x)))"),
    ("mean_whc(mean_wh(x)) - x", "x - mean_whc(x)"),
    ("mean_whc(mean_whcg(x)) - x", "x - mean_whc(x)"),
    ("max(x, 0) - max(-x, 0)", "x + std_wh(0)"),
    ("x / (x * std_wh(0) + std_wh(x))", "x / std_wh(x)"),  # sqrt(eps) is 0.003
    ("max(x, 0)", "max(-x, 0)"),
    ("tanh(x)", "sigmoid(x + x) - sigmoid(-x - x)"),
]

DIFFERENT = [
    ("x - mean_bwh(x)", "x - mean_bwh(mean_wh(x) * mean_wh(x))"),  # planes matter to the second alone
    ("x - mean_whc(x)", "x - mean_whc(square(mean_whcg(x)))"),
    ("x - mean_whcg(x)", "x - mean_whcg(mean_bwh(x))"),
    ("x / rms_whc(x)", "x / rms_whc(x) * std_bwh(x)"),
]


def test_published_layers() -> None:
    assert {name: str(family_of(graph)) for name, graph in zoo.items()} == PUBLISHED


@pytest.mark.parametrize("text", OTHERS)
def test_other_layers(text: str) -> None:
    assert str(family_of(Graph.parse(text))) == OTHERS[text]


@pytest.mark.parametrize("text", [*zoo, *OTHERS])
def test_the_sign_of_the_output_does_not_matter(text: str) -> None:
    graph = zoo[text] if text in zoo else Graph.parse(text)
    flipped = Graph((*graph.nodes, Node("neg", (graph.output,))), graph.last + 1)
    assert measure(flipped, inputs(SEED)) == measure(graph, inputs(SEED))


@pytest.mark.parametrize("name", zoo)
def test_dead_nodes_do_not_matter(name: str) -> None:
    graph = zoo[name]
    longer = Graph((*graph.nodes, Node("std_bwh", (0,)), Node("exp", (graph.last + 1,))), graph.output)
    assert measure(longer, inputs(SEED)) == family_of(graph)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_variants_share_a_family(one: str, other: str) -> None:
    assert family_of(Graph.parse(one)) == family_of(Graph.parse(other))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_statistics_of_statistics_are_told_apart(one: str, other: str) -> None:
    assert family_of(Graph.parse(one)).statistics != family_of(Graph.parse(other)).statistics


@given(graphs())
def test_every_graph_has_a_family_which_its_canonical_form_shares(graph: Graph) -> None:
    found = family_of(graph)
    assert found == family_of(graph.canonical) == family_of(Graph.from_json(graph.to_json()))
    assert str(found) == f"{found.statistics}, {found.scale}, {found.shape}"


def test_the_canonical_form_does_what_the_drawn_graph_does() -> None:
    """As drawn, a part that comes to a constant may overflow, and only then the drawn graph is less clear."""
    filters, differ, compared = CheapFilters(), [], 0
    for label, graph in seeded_graphs(1500):
        if isinstance(filters.judge(graph, Tally()), Passed):
            drawn = measure(graph, inputs(SEED))
            compared += 1
            if UNCLEAR not in str(drawn) and drawn != family_of(graph):
                differ.append((label, drawn, family_of(graph)))
    assert compared > 100 and not differ


def test_few_layers_depend_on_the_random_inputs() -> None:
    """No published or evolved layer does; of random ones 1 in 100 is near a threshold, and 3 in 100 are too many."""
    recorded = json.loads((Path(__file__).parents[1] / "benchmarks/results/search_5000_best.json").read_text())
    # At large scales evonas-1 subtracts a mean from what does not grow: whether its output vanishes is up to the sign.
    named = [graph for name, graph in zoo.items() if name != "evonas-1"]
    for graph in [*named, *(Graph.parse(row["expression"]) for row in recorded)]:
        assert {measure(graph, inputs(seed)) for seed in (SEED, 1, 2)} == {family_of(graph)}, str(graph)
    filters = CheapFilters()
    passed = [graph for _, graph in seeded_graphs(1500) if isinstance(filters.judge(graph, Tally()), Passed)]
    unsure = [graph for graph in passed if len({measure(graph.canonical, inputs(seed)) for seed in (SEED, 1, 2)}) > 1]
    assert len(unsure) <= 0.03 * len(passed)


def test_families_are_values() -> None:
    one, other = (family_of(Graph.parse(text)) for text in ("max(x, 0)", "max(0, x) + v0"))
    assert one == Family("no statistics", "proportional", "rectifies") and len({one, other}) == 1


@pytest.mark.parametrize(("text", "index_sets"), AT_POSITIONS)
def test_statistics_at_single_positions_are_told_from_those_over_planes(text: str, index_sets: set[str]) -> None:
    assert set(family_of(Graph.parse(text)).statistics.split("+")) == index_sets


def test_a_curve_is_the_response_to_one_element_of_a_large_plane() -> None:
    """Of 3,600 elements, one that changes by 3 moves a statistic of a plane by less than 9 / 3,600."""
    rng = np.random.default_rng(0)
    x, grid = rng.standard_normal((1, 2, 60, 60)) + np.array([0.0, 1.0]).reshape(1, 2, 1, 1), np.array([-2.0, 0.5, 3.0])
    parameters = {"v0": np.array([0.3, -0.2]), "v1": np.array([1.0, 2.0])}
    inputs_at = []
    for value in grid:
        changed = x.copy()
        changed[0, 1, 5, 7] = value
        inputs_at.append(Probe(changed, 2, parameters))
    for text in ("max((x - mean_wh(x)) / std_wh(x) * v1 + v0, 0)", "x / max(std_bwh(x), rms_whc(x) - x)", "v1", "x"):
        graph = Graph.parse(text)
        probes = Probes([Probe(x, 2, parameters)])
        output, curves = probes.evaluate_with_curves(graph, np.array([1, 0]), grid)
        np.testing.assert_array_equal(output, probes.evaluate(graph))
        there = [Probes([probe]).evaluate(graph).reshape(x.shape)[0, 1, 5, 7] for probe in inputs_at]
        np.testing.assert_allclose(curves[0], there, atol=0.01)
