"""Twins: which graphs start alike, and that a resumed run remembers them."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.evolution.propose import Proposer
from evonas.judging.cheap_filters import TWIN, CheapFilters, Passed, ResumableFilters, Tally
from evonas.judging.selection import Population
from evonas.judging.start_twins import Twins, read_sketch, sketch, start_distance, start_response, write_sketch
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from evonas.settings.candidate import CandidateKeys, Reject
from tests.fakes import config


def resembles(one: str, other: str, tolerance: float = 0.02) -> bool:
    twins = Twins(tolerance)
    twins.add(Graph.parse(one))
    return twins.resembles(Graph.parse(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tanh(x)", "tanh(x + v0)"),
        ("tanh(x)", "-tanh(v1 * x)"),  # up to the sign
        ("x * sigmoid(x) / std_whcg(x)", "x * sigmoid(v1 * x) / std_whcg(x)"),
        ("max(x, 0)", "max(x, std_wh(0))"),  # sqrt(eps) is 0.003
        ("x / rms_wh(x)", "x / (rms_wh(x) + square(v0))"),
    ],
)
def test_starting_alike(one: str, other: str) -> None:
    assert resembles(one, other) and resembles(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tanh(x)", "tanh(x + x)"),
        ("x", "x + x"),  # the scale at the start decides whether an unnormalised network trains
        ("x / std_wh(x)", "x / std_whcg(x)"),
        ("x / std_wh(x)", "x / rms_wh(x)"),
        ("x / std_whc(x)", "x / std_bwh(x)"),
        ("max(x, 0)", "max(x, 0) + sigmoid(v0)"),
        ("sigmoid(x)", "tanh(x)"),
    ],
)
def test_starting_differently(one: str, other: str) -> None:
    assert not resembles(one, other)


def test_published_layers_that_differ_are_no_twins() -> None:
    """Except EvoNorm-S0 and S1, and two forms of dynamic tanh, which differ only in parameters."""
    twins, found = Twins(0.02), []
    for name, graph in zoo.items():
        if twins.resembles(graph):
            found.append(name)
        twins.add(graph)
    assert found == ["evonorm-s1", "dyt"]


def test_a_tolerance_of_zero_compares_nothing() -> None:
    assert not resembles("tanh(x)", "tanh(x)", tolerance=0.0)


def test_many_are_kept_and_values_that_are_not_finite_are_no_twins() -> None:
    twins = Twins(1e-6)
    scales = [Graph.parse(text) for text in ("x + x", "x + x + x", "x * sigmoid(v1)")]
    for graph in scales * 50:  # more than the first block holds
        twins.add(graph)
    assert all(twins.resembles(graph) for graph in scales) and not twins.resembles(Graph.parse("x"))
    endless = Graph.parse("exp(exp(exp(square(x))))")
    assert start_response(endless) is None
    twins.add(endless)
    assert not twins.resembles(endless)


def test_the_response_is_that_of_the_layer_at_its_start() -> None:
    linear, doubled = (start_response(Graph.parse(text)) for text in ("x + v0", "v1 * x + x"))
    assert linear is not None and doubled is not None
    np.testing.assert_allclose(doubled, 2 * linear, rtol=1e-6)
    thirds = linear.reshape(3, -1)  # linear: divided by the scale, all three are equal
    np.testing.assert_allclose(thirds[0], thirds[2], rtol=1e-6)


def test_the_filter_comes_last_and_names_itself() -> None:
    filters, graph = CheapFilters(0.02), Graph.parse("tanh(x)")
    passed = filters.judge(graph, Tally())
    assert isinstance(passed, Passed)
    filters.remember(graph, passed.key, passed.functional_key)
    tally = Tally()
    verdict = filters.judge(Graph.parse("tanh(x + v0)"), tally)
    assert verdict == (TWIN, Reject("starts as an earlier candidate does"))
    assert tally.discarded == {TWIN: 1}
    # Off by default: graphs that start alike may be different functions.
    plain = CheapFilters()
    plain.remember(graph, passed.key, passed.functional_key)
    assert isinstance(plain.judge(Graph.parse("tanh(x + v0)"), Tally()), Passed)


def test_a_run_that_goes_on_remembers_the_twins_of_its_past() -> None:
    settings = config(strategy="random", twins=0.02)
    whole = Proposer(settings)
    drawn = [whole.draw(index, Population(1)) for index in range(30)]
    assert sum(candidate.discarded.get(TWIN, 0) for candidate in drawn) > 0
    resumed = Proposer(settings)
    for candidate in drawn[:20]:
        resumed.remember(candidate)
    again = [resumed.draw(index, Population(1)) for index in range(20, 30)]
    assert [c.key for c in again] == [c.key for c in drawn[20:]]
    assert [c.discarded for c in again] == [c.discarded for c in drawn[20:]]


def test_the_grid_finds_what_a_comparison_with_all_finds() -> None:
    """Vectors about as far apart as the tolerance, of either sign, some with length 0."""
    rng = np.random.default_rng(2)
    for tolerance in (1e-3, 0.02, 0.3, 0.9):
        twins, kept, found = Twins(tolerance), [], 0
        for _ in range(300):
            vector = rng.standard_normal(64) * rng.choice([0.0, 1.0, 1.0, 30.0])
            if kept and rng.random() < 0.7:
                near = kept[int(rng.integers(len(kept)))]
                noise = rng.standard_normal(64)
                vector = near + noise * np.linalg.norm(near) * rng.uniform(0, 2) * tolerance / np.linalg.norm(noise)
            length, direction = read_sketch(write_sketch(float(np.linalg.norm(vector)), vector))
            vector = length * direction
            distances = [min(np.linalg.norm(e - vector), np.linalg.norm(e + vector)) for e in kept]
            nearest, limit = min(distances, default=np.inf), tolerance * np.linalg.norm(vector)
            if abs(nearest - limit) < 1e-3 * limit:
                continue  # float16 leaves lengths within 1e-3 of one
            sketched = write_sketch(length, direction)
            assert twins.matches(sketched) == (nearest <= limit)
            found += nearest <= limit
            twins.recall(sketched)
            kept.append(vector)
        assert 20 < found < 290


@pytest.mark.parametrize("tolerance", [0.02, 0.3, 0.35])
def test_what_lies_just_within_the_tolerance_is_found_wherever_the_grid_has_its_lines(tolerance: float) -> None:
    """Longer, shorter and rotated by almost the tolerance, or a little more, at places all over the grid."""
    rng = np.random.default_rng(5)
    margin = 0.02  # of the tolerance: float16 rounds each direction by up to 1e-4 or so
    for share, times in ((1 - margin, 150), (1 + margin, 15)):
        for _ in range(times):
            direction = rng.standard_normal(64)
            length = float(np.exp(rng.uniform(-5, 5)))
            known = read_sketch(write_sketch(length, direction))
            turned = np.zeros(64)
            turned[rng.integers(8)] = rng.choice([-1.0, 1.0])  # along a coordinate of the grid
            turned -= known[1] * (turned @ known[1]) / (known[1] @ known[1])
            turned /= np.linalg.norm(turned)
            step = tolerance * share
            # The tolerance is relative to the vector that is compared: v + step · |v| · u was added, v is compared.
            ways = {
                "longer": length * (1 + step) * known[1],
                "shorter": length * (1 - step) * known[1],
                "turned": length * (known[1] + step * turned),
                "tangent": length * np.sqrt(1 - step**2) * (np.sqrt(1 - step**2) * known[1] + step * turned),
            }
            for way, earlier in ways.items():
                twins = Twins(tolerance)
                twins.recall(write_sketch(float(np.linalg.norm(earlier)), earlier))
                sign = rng.choice([-1.0, 1.0])
                assert twins.matches(write_sketch(length, sign * known[1])) is bool(share < 1), (way, share, length)


def test_a_sketch_keeps_distances() -> None:
    """To about a sixth: 50 random directions besides the landmarks, three standard deviations of 1 / sqrt(2 · 50)."""
    graphs = list(zoo.values())
    responses = [start_response(graph) for graph in graphs]
    sketches = [length * direction for length, direction in map(read_sketch, map(sketch, graphs))]
    for i in range(len(graphs)):
        for j in range(i):
            one, other = responses[i], responses[j]
            assert one is not None and other is not None
            true = float(np.linalg.norm(one.astype(np.float64) - other))
            if true > 0.02 * np.linalg.norm(one):
                assert 0.7 < np.linalg.norm(sketches[i] - sketches[j]) / true < 1.3


def test_a_candidate_of_an_earlier_session_has_twins() -> None:
    filters = ResumableFilters(0.02)
    assert filters.recall(CandidateKeys("its key", "its function", sketch(Graph.parse("tanh(x)"))))
    assert not filters.recall(CandidateKeys("another", "function", None))  # with an incomplete record
    verdict = filters.judge(Graph.parse("tanh(x + v0)"), Tally())
    assert isinstance(verdict, tuple) and verdict[0] == TWIN
    assert ResumableFilters(0.0).recall(CandidateKeys("another", "function", None))


def test_the_distance_of_two_layers_is_relative_and_up_to_the_sign() -> None:
    x = Graph.parse("x")
    assert start_distance(x, Graph.parse("-x")) == start_distance(x, Graph.parse("x + v0")) == 0.0
    assert start_distance(x, Graph.parse("x + x")) == pytest.approx(0.5) == start_distance(Graph.parse("x + x"), x)
    relu, whole = (np.asarray(start_response(graph), float) for graph in (Graph.parse("max(x, 0)"), x))
    assert start_distance(x, Graph.parse("max(x, 0)")) == pytest.approx(
        np.linalg.norm(whole - relu) / np.linalg.norm(whole)
    )
    # The constant 0 is as far as anything can be, and what is not finite is nowhere.
    assert start_distance(x, Graph.parse("v0")) == 1.0 and start_distance(Graph.parse("v0"), Graph.parse("0")) == 0.0
    assert start_distance(x, Graph.parse("exp(exp(exp(x * x)))")) == float("inf")
