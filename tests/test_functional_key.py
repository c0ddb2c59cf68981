"""The functional key: one for each function up to sign, equal on all machines, different for different functions."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given

from evonas.errors import GraphError
from evonas.judging.functional_key import ProbeResponse, functional_key, respond
from evonas.language.graph import Graph
from evonas.language.zoo import zoo
from tests.strategies import graphs

SAME = [
    # Commuted, associated, distributed.
    ("x * v1 + v0", "v0 + v1 * x"),
    ("x + (v0 + v1)", "(x + v0) + v1"),
    ("x * (v1 * std_wh(x))", "std_wh(x) * v1 * x"),
    ("x * (v0 + v1)", "x * v0 + x * v1"),
    ("max(x, max(v0, 0))", "max(0, max(x, v0))"),
    # Identities that need not be rewrite rules.
    ("exp(x) * exp(v0)", "exp(x + v0)"),
    ("exp(x) * exp(std_wh(x))", "exp(x + std_wh(x))"),
    ("exp(0) - sigmoid(x)", "sigmoid(-x)"),
    ("tanh(x)", "sigmoid(x + x) - sigmoid(-x - x)"),
    ("max(x, 0) - max(-x, 0)", "x"),
    ("square(x + v0)", "square(x) + (x + x) * v0 + square(v0)"),
    ("max(x, -x)", "abs(x)"),
    ("mean_wh(x + v1)", "mean_wh(x) + v1"),
    ("mean_whc(mean_wh(x))", "mean_whc(x)"),
    ("mean_whcg(mean_wh(x) * x)", "mean_whcg(square(mean_wh(x)))"),
    # Up to the sign of the output.
    ("tanh(x + x)", "-tanh(x + x)"),
    ("tanh(x + x)", "tanh(-x - x)"),
    ("x - mean_bwh(x)", "mean_bwh(x) - x"),
    ("x / std_wh(x)", "0 - x / std_wh(x)"),
    # The largest values have both signs, so that which of them is larger is a matter of rounding.
    ("x / abs(x) * rms_bwh(x)", "x * (rms_bwh(x) / abs(x))"),
    ("x / abs(x) * exp(std_bwh(x))", "x * exp(std_bwh(x)) / abs(x)"),
    ("x / abs(x) * std_whc(x)", "x * tanh(v0) * std_whc(x) / abs(x) / tanh(v0)"),
]


def key_of(text: str | Graph) -> str:
    graph = Graph.parse(text) if isinstance(text, str) else text
    return functional_key(respond(graph))


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_function_share_a_key(one: str, other: str) -> None:
    assert key_of(one) == key_of(other)


DIFFERENT = [
    *[f"{moment}_{i}(x) + x" for moment in ("mean", "rms", "std") for i in ("wh", "whc", "whcg", "bwh")],
    *["x", "v0 * x", "v1 * x", "v0 + x", "v1 + x", "v0 * v1 * x", "x * abs(v0)", "x + 0 * v0 + v0 * v1"],
    *["abs(x)", "square(x)", "max(x, 0)", "max(x, v0)", "max(x, v1)", "tanh(x)", "tanh(x + x)", "tanh(v1 * x)"],
    # The sign of the output is free, that of the input is not.
    *["exp(x)", "exp(-x)", "sigmoid(x)", "sigmoid(-x)", "x * sigmoid(x)", "x * sigmoid(-x)", "max(-x, 0)"],
    # A scale that the affine could learn is still another layer: it changes what the optimiser sees.
    *["x + x", "x + x + x"],
]


def test_different_functions_have_different_keys() -> None:
    assert len({key_of(text) for text in DIFFERENT}) == len(DIFFERENT)


def test_every_probe_counts_with_its_value_and_its_gradient() -> None:
    responses = respond(Graph.parse("x * sigmoid(v1 * x) / std_whcg(x)"))
    changed = [responses]
    for number, response in enumerate(responses):
        for name in ("output", "gradient"):
            values = getattr(response, name).copy()
            values[-1, -1, -1, -1] += 0.01 * np.abs(values).max()
            other = replace(response, **{name: values})
            changed.append((*responses[:number], other, *responses[number + 1 :]))
    assert len({functional_key(one) for one in changed}) == 5


def test_all_layers_of_the_zoo_are_different() -> None:
    keys = {name: key_of(graph) for name, graph in zoo.items()}
    same = [(a, b) for a, b in itertools.combinations(keys, 2) if keys[a] == keys[b]]
    assert not same


def test_a_constant_of_the_last_kept_digit_is_seen_and_one_below_is_not() -> None:
    """Six digits are kept: a change in the fourth digit makes another function, one in the tenth is rounding."""
    response = respond(Graph.parse("x * sigmoid(x)"))[0]
    scale = float(np.abs(response.output).max())
    bumped = response.output.copy()
    bumped[0, 0, 0, 0] += 1e-4 * scale
    assert functional_key([replace(response, output=bumped)]) != functional_key([response])
    bumped = response.output * (1 + 1e-13)
    assert functional_key([replace(response, output=bumped)]) == functional_key([response])


def test_graphs_that_differ_in_their_gradient_alone_differ() -> None:
    """Layers with equal values but different derivatives train differently."""
    response = respond(Graph.parse("tanh(x)"))[0]
    other = ProbeResponse(response.output, response.gradient * 2)
    assert functional_key([other]) != functional_key([response])
    # The gradient's own sign counts: only a common flip of output and gradient is free.
    flipped = ProbeResponse(response.output, -response.gradient)
    assert functional_key([flipped]) != functional_key([response])
    both = ProbeResponse(-response.output, -response.gradient)
    assert functional_key([both]) == functional_key([response])


def test_the_gradient_is_that_of_a_weighting_which_is_not_uniform() -> None:
    """Every sum of normalised values is 0, and so is its gradient: uniform weights would see nothing."""
    response = respond(Graph.parse("(x - mean_wh(x)) / std_wh(x)"))[0]
    assert float(np.abs(response.gradient).max()) > 1e-3


@given(graphs())
def test_the_canonical_form_has_the_key_of_the_graph(graph: Graph) -> None:
    responses = respond(graph)
    # Non-finite responses never reach the key; beyond 1e8 float64 rounding passes the sixth digit after cancellation.
    assume(all(np.abs(r.output).max() < 1e8 and np.abs(r.gradient).max() < 1e8 for r in responses))
    assume(all(np.abs(r.gradient).max() > 1e-6 for r in responses))
    assert key_of(graph.canonical) == functional_key(responses)


@given(graphs())
def test_a_graph_and_its_negative_share_a_key(graph: Graph) -> None:
    assume(len(graph.nodes) < 20)
    responses = respond(graph)
    assume(all(np.isfinite(r.output).all() and np.isfinite(r.gradient).all() for r in responses))
    negative = [ProbeResponse(-r.output, -r.gradient) for r in responses]
    assert functional_key(negative) == functional_key(responses)


_PRINT_KEYS = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
from tests.test_functional_key import key_of
from evonas.language.zoo import zoo
print(*[key_of(graph) for graph in zoo.values()])
"""


def test_keys_do_not_depend_on_the_process_or_its_threads() -> None:
    """The keys are recorded, so a resumed run and a worker elsewhere must compute the same ones."""
    here = [key_of(graph) for graph in zoo.values()]
    torch.set_num_threads(2)
    try:
        assert [key_of(graph) for graph in zoo.values()] == here
    finally:
        torch.set_num_threads(1)
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_KEYS, "3"], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.split() == here


def test_random_state_is_neither_used_nor_changed() -> None:
    before = torch.random.get_rng_state()
    first = key_of("x * sigmoid(v1 * x) / std_whcg(x)")
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(99)
    assert key_of("x * sigmoid(v1 * x) / std_whcg(x)") == first


def test_parsing_of_the_tables_above_is_strict() -> None:
    """Otherwise a typing error in a table would compare two errors."""
    with pytest.raises(GraphError):
        key_of("no_such_op(x)")
