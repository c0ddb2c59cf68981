"""The cheap filters compared with their plain version: the same graphs from a seed, and the same verdict on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evonas.judging.cheap_filters import CheapFilters, Passed, Tally, structural
from evonas.judging.functional_key import respond
from evonas.judging.start_twins import start_response
from evonas.language.graph import Graph, X
from evonas.language.zoo import zoo
from evonas.search_spaces import SPACES
from evonas.settings.candidate import Accept
from evonas.settings.fast_random import Draws
from evonas.settings.search_space import SearchSpace, generator
from tests import plain_filters
from tests.plain_filters import PlainFilters
from tests.strategies import graphs


def proposals(space: SearchSpace, count: int, seed: int) -> Iterator[Graph]:
    """Random graphs, and published layers mutated twice, which reach the later filters; drawn by both versions."""
    fast, plain = generator(seed), generator(seed)
    published = [graph for graph in zoo.values() if all(node.op in space.ops for node in graph.nodes)]
    for number in range(count):
        graph, same = space.random_graph(fast), plain_filters.random_graph(space, plain)
        if number % 2:
            start = published[number % len(published)]
            graph, same = (space.embed(start, rng) for rng in (fast, plain))
            for _ in range(2):
                graph, same = space.mutate(graph, fast)[0], plain_filters.mutated(space, same, plain)
        assert graph == same
        yield graph


def compare(space: SearchSpace, count: int, seed: int) -> Counter[str]:
    filters, plain, seen = CheapFilters(), PlainFilters(), Counter[str]()
    for graph in proposals(space, count, seed):
        expected, result = plain.judge(graph), filters.judge(graph, Tally())
        if isinstance(result, Passed):
            verdict = "passed", result.functional_key
        else:
            verdict = result[0], result[1].reason if result[0] == "numerical" else ""
        if verdict != expected:
            assert plain_filters.is_rounding(graph.canonical), (graph.written(), verdict, expected)
            seen["rounding"] += 1
        elif isinstance(result, Passed):
            filters.remember(graph, result.key, result.functional_key)
            plain.remember(graph, result.functional_key)
        seen[expected[0]] += 1
    assert seen["rounding"] <= seen["passed"] / 100
    return seen


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_same_verdict_on_every_proposal(space: SearchSpace) -> None:
    seen = compare(space, 800, seed=1)
    rare = set() if space.leaves else {"numerical", "functional"}  # with more leaves, more graphs ignore x
    assert {"structural", "duplicate", "passed", *rare} <= set(seen)  # each of them was reached


@pytest.mark.slow
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_same_verdict_on_twenty_thousand(space: SearchSpace) -> None:
    compare(space, 20_000, seed=2)


@given(graphs())
def test_responses_are_those_of_the_reference(graph: Graph) -> None:
    """Also before rewriting, and with values that are not finite in the same places."""
    for fast, (output, gradient) in zip(respond(graph), plain_filters.respond(graph), strict=True):
        # Rounding grows where large numbers cancel; 1e-9 of the largest leaves seven digits for that, and of values
        # beyond 1e30 more than that may be lost, or all in an overflow.
        same_places = np.isfinite(fast.output) == output.isfinite().numpy()
        assert same_places.all()
        assume(float(output.abs().max()) < 1e30 and float(gradient.abs().max()) < 1e30)
        scale = float(output.abs().max())
        np.testing.assert_allclose(fast.output, output.numpy(), rtol=1e-9, atol=1e-9 * scale + 1e-12)
        scale = max(float(gradient.abs().max()), 1.0)
        np.testing.assert_allclose(fast.gradient, gradient.numpy(), rtol=1e-9, atol=1e-9 * scale)


@given(graphs())
def test_responses_at_the_start_are_those_of_the_reference(graph: Graph) -> None:
    fast, plain = start_response(graph), plain_filters.start_response(graph)
    if fast is None or plain is None:
        assert fast is plain
        return
    # float32 keeps seven digits; where large numbers cancel fewer are left of what is compared with the largest.
    np.testing.assert_allclose(fast, plain, rtol=1e-6, atol=1e-6 * max(float(np.abs(plain).max()), 1.0))


@given(
    st.sampled_from([np.random.Philox, np.random.PCG64, np.random.MT19937]),
    st.integers(0, 2**32),
    st.lists(st.one_of(st.none(), st.integers(2, 20), st.integers(2**31, 2**32 - 1)), max_size=40),
)
def test_draws_are_those_of_the_generator(
    bits: type[np.random.BitGenerator], seed: int, bounds: list[int | None]
) -> None:
    """In any order, including bounds for which words are rejected, and afterwards."""
    plain, other = np.random.Generator(bits(seed)), np.random.Generator(bits(seed))
    draws = Draws(other)
    for bound in bounds:
        drawn, expected = (
            (draws.uniform(), plain.random()) if bound is None else (draws.below(bound), plain.integers(bound))
        )
        assert drawn == expected
    assert other.integers(1000) == plain.integers(1000)
    assert other.random() == plain.random()


@given(graphs())
def test_a_walk_rejects_nothing_that_the_canonical_form_would_let_pass(graph: Graph) -> None:
    canonical = graph.canonical
    varies = X in canonical.live and plain_filters.follows_x(canonical, canonical.output)
    assert isinstance(structural(canonical), Accept) == varies
    assert isinstance(structural(graph), Accept) or not varies
