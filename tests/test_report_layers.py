"""The parts of the report about single layers: family tree, changes, response, formula, graph; and its numbers."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.language.graph import Graph
from evonas.language.mathml import mathml
from evonas.language.zoo import zoo
from evonas.report.changes import changes
from evonas.report.family_tree_svg import lanes_svg
from evonas.report.graph_edges import bezier
from evonas.report.graph_svg import graph_svg
from evonas.report.lineage import lineage
from evonas.report.number_format import accuracy, duration
from evonas.report.response_curve import SCALES, response
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Candidate, Evaluation, Origin, OriginKind, Status
from tests.strategies import graphs

GRAPH = Graph.parse("x * sigmoid(v1 * x) / std_whcg(x)")


def family(parents: list[int | None]) -> dict[int, Candidate]:
    """Candidates whose parents are given by index."""
    origins = [Origin(OriginKind.RANDOM) if p is None else Origin(OriginKind.MUTATION, p, ("words",)) for p in parents]
    return {i: Candidate(i, GRAPH, f"{i}", f"{i}", origin) for i, origin in enumerate(origins)}


@st.composite
def parents(draw: st.DrawFn) -> list[int | None]:
    return [draw(st.none() | st.integers(0, index - 1)) if index else None for index in range(draw(st.integers(1, 40)))]


@given(parents(), st.data())
@settings(max_examples=60, deadline=None)
def test_the_tree_holds_the_best_and_their_ancestors_alone(made: list[int | None], data: st.DataObject) -> None:
    best = data.draw(st.lists(st.sampled_from(range(len(made))), unique=True, min_size=1, max_size=5))
    tree = lineage(best, family(made), {i: Evaluation(i, Status.SCORED, {"a": 0.5}) for i in range(len(made))})
    expected: set[int] = set()
    for index in best:
        walk: int | None = index
        while walk is not None:
            expected.add(walk)
            walk = made[walk]
    assert sorted(row.index for row in tree) == sorted(expected)
    assert {row.index: row.rank for row in tree if row.rank} == {index: i + 1 for i, index in enumerate(best)}
    for number, row in enumerate(tree):
        if row.parent is None:
            assert made[row.index] is None and row.lane == 0
        else:
            assert row.parent < number and tree[row.parent].index == made[row.index]
            assert row.lane in (tree[row.parent].lane, tree[row.parent].lane + 1)
    assert max(row.lane for row in tree) <= log2(len(tree))
    # No line runs through the dot of another layer: between a layer and its last child its lane is empty.
    for number, row in enumerate(tree):
        children = [other for other, child in enumerate(tree) if child.parent == number]
        for other in range(number + 1, max(children, default=number)):
            assert tree[other].lane > row.lane
    assert len(lanes_svg(tree)) == len(tree)


def test_a_cycle_in_a_damaged_database_ends() -> None:
    tree = lineage([1], family([1, 0]), {})
    assert [(row.index, row.parent, row.mean) for row in tree] == [(0, None, None), (1, 0, None)]


def test_a_change_is_the_expressions_before_and_after() -> None:
    parent = Graph.from_json({"nodes": [["mul", [3, 0]], ["sigmoid", [4]], ["tanh", [0]], ["mul", [0, 5]]]})
    child = Graph.from_json({"nodes": [["mul", [3, 0]], ["tanh", [4]], ["exp", [0]], ["mul", [0, 5]]]})
    (change,) = changes(parent, child)  # node 6 is dead in both
    assert str(change) == "sigmoid(v1 * x) → tanh(v1 * x)"
    assert changes(parent, parent) == []
    assert [str(c) for c in changes(parent, Graph.parse("tanh(x)"))] == ["x * sigmoid(v1 * x) → tanh(x)"]


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_mutations_that_change_the_function_are_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parent = evonorm.random_graph(rng)
    child, _ = evonorm.mutate(parent, rng)
    if parent.key != child.key:
        assert changes(parent, child)


def test_the_response_of_an_activation_is_its_curve() -> None:
    found = response(Graph.parse("tanh(x)"))
    for values in found.curves.values():
        torch.testing.assert_close(torch.tensor(values), torch.tanh(torch.tensor(found.x)))


def test_the_response_of_a_normalisation_depends_on_the_others() -> None:
    found = response(zoo["bn-relu"])
    at_2 = found.x.index(2.0)
    tall = [found.curves[scale][at_2] for scale in SCALES]
    assert tall == sorted(tall, reverse=True)  # type: ignore[type-var]  # finite
    # Of one element among 144 in a channel, and of unit variance around a mean near 0.
    assert found.curves[1.0][at_2] == pytest.approx(2.0, rel=0.25)
    assert found.curves[1.0][0] == 0.0


def test_a_response_that_is_not_finite_has_gaps() -> None:
    text = "exp(exp(exp(x + x + x)))"
    values = response(Graph.parse(text)).curves[1.0]
    assert values[-1] is None and values[0] == pytest.approx(np.exp(1), rel=0.01)


@given(graphs())
@settings(max_examples=40, deadline=None)
def test_every_graph_can_be_typeset_and_drawn(graph: Graph) -> None:
    formula = mathml(graph)
    assert formula is None or (formula.startswith("<math") and formula.endswith("</math>"))
    svg = graph_svg(graph)
    assert svg.count("<rect") == len(graph.live) + 2
    assert "$" not in svg


def test_a_formula_that_would_fill_pages_is_left_out() -> None:
    nodes: list[list[object]] = [["add", [0, 2]]]
    nodes += [["mul", [3 + i, 3 + i]] for i in range(1, 9)]
    wide = Graph.from_json({"nodes": nodes})
    assert mathml(wide) is None
    assert "<rect" in graph_svg(wide)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200.0, "3 min 20 s"),
        (3900.0, "1 h 05 min"),
        (3_600_000.0, "1,000 h 00 min"),
    ],
)
def test_durations_are_rounded_to_what_people_read(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_accuracy_that_is_missing_is_a_dash() -> None:
    assert [accuracy(value) for value in (0.12345, None, float("nan"))] == ["0.123", "–", "–"]


def test_a_curve_runs_horizontally_through_its_stops() -> None:
    points = bezier([(0.0, 0.0), (2.0, 1.0), (4.0, 3.0)])
    assert points == [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (3.0, 3.0), (4.0, 3.0)]
