"""Canonical form: every rule fires and keeps the function and its gradients; one function, one key."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.language import rewrite_rules, simplify
from evonas.language.graph import FIRST, Graph, Node
from evonas.language.primitive_table import PRIMITIVES
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import evaluate
from evonas.search_spaces import SPACES
from evonas.settings.fast_random import Draws
from evonas.settings.search_space import generator
from tests.strategies import GROUPS, built, graphs, probe, reads_x, sampled, seeded_graphs, value_and_gradients

EVONORM = SPACES["evonorm"]
# With few operations, rules apply more often to the results of other rules.
DENSE = replace(EVONORM, operations=("add", "mul", "div", "max", "neg", "abs", "square", "mean", "std"), nodes=12)

# Rule, the operations it is tried on (all of its own if empty), before, after.
CASES = [
    ("a + 0 = a", "", "tanh(x) + 0", "tanh(x)"),
    ("a + 0 = a", "", "0 + tanh(x)", "tanh(x)"),
    ("a - a = 0", "", "exp(x) - exp(x)", "0"),
    ("a - a = 0", "", "-exp(x) + exp(x)", "0"),
    ("a · 0 = 0", "", "x * 0", "0"),
    ("a · 0 = 0", "", "0 * x", "0"),
    ("a · 1 = a", "", "x * exp(0)", "x"),
    ("a · 1 = a", "", "exp(0) * x", "x"),
    ("a · a = a²", "", "tanh(x) * tanh(x)", "square(tanh(x))"),
    ("-a · b = -(a · b)", "", "-x * v1", "-(x * v1)"),
    ("-a · b = -(a · b)", "", "v1 * -x", "-(v1 * x)"),
    ("-a · b = -(a · b)", "", "-x * -v1", "x * v1"),
    ("-a · b = -(a · b)", "", "-x * x", "-square(x)"),
    ("0 / a = 0", "", "0 / x", "0"),
    ("a / 1 = a", "", "x / exp(0)", "x"),
    ("-a / b = -(a / b)", "", "-x / v1", "-(x / v1)"),
    ("max(a, a) = a", "", "max(tanh(x), tanh(x))", "tanh(x)"),
    ("1² = 1", "", "square(exp(0)) + x", "exp(0) + x"),
    ("--a = a", "", "--x", "x"),
    ("f(0) = 0", "neg tanh square abs log sqrt erf", "{op}(0)", "0"),
    ("f(-a) = -f(a)", "tanh log sqrt erf mean_bwh mean_whc mean_wh mean_whcg mean_c mean_cg", "{op}(-x)", "-{op}(x)"),
    (
        "f(-a) = f(|a|) = f(a)",
        "square abs rms_bwh rms_whc rms_wh rms_whcg rms_c rms_cg std_bwh std_whc std_wh std_whcg std_c std_cg",
        "{op}(-x)",
        "{op}(x)",
    ),
    ("f(-a) = f(|a|) = f(a)", "square rms_bwh rms_whc rms_wh rms_whcg rms_c rms_cg", "{op}(abs(x))", "{op}(x)"),
    ("|a| = a for a ≥ 0", "", "abs(sigmoid(x))", "sigmoid(x)"),
    ("|a| = a for a ≥ 0", "", "abs(square(x))", "square(x)"),
    ("|a| = a for a ≥ 0", "", "abs(std_wh(x))", "std_wh(x)"),
    ("mean(k) = k", "", "{op}(exp(0)) + x", "exp(0) + x"),
    ("mean(k) = k", "mean_bwh", "{op}(v1) * x", "v1 * x"),
    ("mean(k) = k", "mean_wh mean_whcg", "{op}(std_whcg(x)) * x", "std_whcg(x) * x"),
    ("mean(k) = k", "mean_wh mean_whcg mean_whc", "{op}(std_whc(x)) * x", "std_whc(x) * x"),
    ("rms_I(k) = rms_wh(k)", "rms_bwh", "{op}(v1) * x", "rms_wh(v1) * x"),
    ("rms_I(k) = rms_wh(k)", "rms_c rms_cg", "{op}(s1) * x", "rms_wh(s1) * x"),
    ("rms_I(k) = rms_wh(k)", "rms_c", "{op}(mean_c(x)) * x", "rms_cg(mean_c(x)) * x"),
    ("f(numbers) = a number", "add", "0.5 + 0.25", "0.75"),
    ("f(numbers) = a number", "mul", "0.5 * 4", "2"),
    ("f(numbers) = a number", "div", "3 / 2", "1.5"),
    ("f(numbers) = a number", "max", "max(-0.5, -0.25)", "-0.25"),
    ("f(numbers) = a number", "sigmoid", "sigmoid(0.5)", repr(1 / (1 + math.exp(-0.5)))),
    ("f(numbers) = a number", "tanh", "tanh(-0.5)", repr(math.tanh(-0.5))),
    ("f(numbers) = a number", "exp", "exp(0.5)", repr(math.exp(0.5))),
    ("f(numbers) = a number", "erf", "erf(0.5)", repr(math.erf(0.5))),
    ("f(numbers) = a number", "square", "square(0.5)", "0.25"),
    ("f(numbers) = a number", "abs", "abs(0.5 - 1) + x", "0.5 + x"),
    ("f(numbers) = a number", "sqrt", "sqrt(1e30)", "1e15"),  # so large that eps does not matter
    ("f(numbers) = a number", "log", "log(1e30)", repr(math.log(1e30))),
    ("rms_I(k) = rms_wh(k)", "rms_whc rms_whcg", "{op}(std_whc(x)) * x", "rms_wh(std_whc(x)) * x"),
    ("std_I(k) = std_wh(0)", "", "{op}(std_whc(mean_bwh(x))) * x", "std_wh(0) * x"),
    ("std_I(k) = std_wh(0)", "std_wh std_bwh", "{op}(v1) * x", "std_wh(0) * x"),
    ("std(a + k) = std(a)", "", "{op}(x + exp(0))", "{op}(x)"),
    ("std(a + k) = std(a)", "std_wh std_whcg", "{op}(mean_whcg(x) - x)", "{op}(x)"),
    ("std(a + k) = std(a)", "std_bwh std_wh", "{op}(v0 + x)", "{op}(x)"),
    ("mean_I(mean_J(a)) = mean_I(a)", "mean_bwh mean_whc mean_whcg", "{op}(mean_wh(x)) + x", "{op}(x) + x"),
    ("mean_I(mean_J(a)) = mean_I(a)", "mean_c mean_whc mean_whcg", "{op}(mean_cg(x)) + x", "{op}(x) + x"),
    ("mean_I(mean_J(a)) = mean_I(a)", "mean_whc", "{op}(mean_c(x)) + x", "{op}(x) + x"),
    ("mean_I(mean_J(a)) = mean_I(a)", "mean_whc", "{op}(mean_whcg(x)) + x", "{op}(x) + x"),
]
RULES = {rule.name: rule for rule in rewrite_rules.RULES}
# Operations that a rule lists but never applies to: another rule for the same argument comes first, or the operation
# is the form that the rule rewrites to.
NEVER = {
    "f(-a) = -f(a)": {"neg"},
    "rms_I(k) = rms_wh(k)": {"rms_wh"},
    "mean_I(mean_J(a)) = mean_I(a)": {"mean_wh", "mean_cg"},
}
EXPANDED = [
    (rule, op, before.format(op=op), after.format(op=op))
    for rule, ops, before, after in CASES
    for op in (ops.split() or RULES[rule].ops)
    if op not in NEVER.get(rule, ())
]


def test_every_rule_has_a_case_for_every_operation():
    tried = {(rule, op) for rule, op, *_ in EXPANDED}
    filed = {
        (rule.name, op)
        for rule in rewrite_rules.RULES
        for op in rule.ops
        if op not in NEVER.get(rule.name, ()) and op in PRIMITIVES  # test_differentiate.py has those of derivatives
    }
    assert tried == filed


@pytest.mark.parametrize(("rule", "op", "before", "after"), EXPANDED)
def test_rule(rule, op, before, after, monkeypatch):
    raw, wanted = Graph.parse(before), Graph.parse(after)
    assert raw.canonical == wanted.canonical, raw.canonical.expression()
    assert assert_same_function(raw, raw.canonical)
    without = {name: tuple(r for r in rules if r.name != rule) for name, rules in simplify.RULES_OF.items()}
    monkeypatch.setattr(simplify, "RULES_OF", without)
    assert Graph(*simplify.simplify(raw.nodes, raw.live)) != wanted.canonical, "another rule does this case"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("max(x, -x)", "abs(x)"),  # true, but the gradients differ at the tie
        ("x / -v1", "-(x / v1)"),  # not at 0, where the clamp is on the positive side
        ("abs(tanh(x))", "tanh(x)"),
        ("abs(mean_wh(x))", "mean_wh(x)"),
        ("std_wh(abs(x))", "std_wh(x)"),
        ("std_bwh(x + mean_wh(x))", "std_bwh(x)"),
        ("std_whcg(mean_wh(x))", "std_wh(0)"),
        ("mean_whcg(mean_wh(x))", "mean_wh(x)"),
        ("mean_wh(mean_whcg(x) * v1)", "mean_whcg(x)"),
        ("mean_bwh(mean_whc(x))", "mean_bwh(x)"),
        ("mean_whcg(v1)", "v1"),
        ("rms_wh(v1)", "v1"),
        ("exp(-x)", "exp(x)"),
        ("x - v0", "v0 - x"),
        ("x / v1", "v1 / x"),
        ("x", "v0"),
        ("v0", "v1"),
        ("std_wh(x)", "std_whc(x)"),
    ],
)
def test_different_functions_have_different_keys(one, other):
    assert Graph.parse(one).key != Graph.parse(other).key


def assert_same_function(raw: Graph, canonical: Graph) -> bool:
    """Compares values and gradients where they are finite; False where rounding alone changes them."""
    x, parameters = probe(11)
    found, expected = (value_and_gradients(g, x, parameters) for g in (canonical, raw))
    # A rewrite changes rounding, which log, sqrt and div turn into a jump where an exact 0 becomes 1e-17.
    # So a graph counts only if changing x by some 1e-13 of itself changes it by less than 1e-8.
    shaken = value_and_gradients(raw, x * (1 + 1e-13 * torch.sin(17 * x)), parameters)
    if not all(torch.isfinite(e).all() for e in expected.values()):
        return False
    scales = {what: 1 + e.abs().max() for what, e in expected.items()}
    if any((shaken[what] - e).abs().max() > 1e-8 * scales[what] for what, e in expected.items()):
        return False
    for what, e in expected.items():
        # Rounding of 1e-16 an operation, amplified no more than 1e-13 was above, by 1e5: 1e-11 and some.
        assert (found[what] - e).abs().max() <= 1e-9 * scales[what], f"{what} of {raw} and {canonical}"
    return True


# The index sets in NumPy, on an array of (b, groups, channels of a group, h, w).
AXES = {"wh": (3, 4), "whcg": (2, 3, 4), "whc": (1, 2, 3, 4), "bwh": (0, 3, 4), "c": (1, 2), "cg": (2,)}
MOMENTS = {
    "mean": np.mean,
    "rms": lambda a, **over: np.sqrt((a * a).mean(**over) + 1e-5),
    "std": lambda a, **over: np.sqrt(a.var(**over) + 1e-5),
}
STATISTICS = [f"{moment}_{axes}" for moment in MOMENTS for axes in AXES]


def by_numpy(name, values):
    """A statistic, broadcast to the shape of `values`."""
    moment, axes = name.split("_")
    return np.broadcast_to(MOMENTS[moment](values, axis=AXES[axes], keepdims=True), values.shape)


@pytest.mark.parametrize("outer", STATISTICS)
@pytest.mark.parametrize("inner", STATISTICS)
def test_a_statistic_of_a_statistic_agrees_with_numpy(outer, inner):
    """Some simplify to one statistic, and it is easy to get wrong which: a group is not within a channel."""
    raw = Graph.parse(f"{outer}({inner}(tanh(x)))")
    assert assert_same_function(raw, raw.canonical)
    given, parameters = probe(11)
    x = given.numpy()
    b, c, h, w = x.shape
    right = by_numpy(outer, by_numpy(inner, np.tanh(x.reshape(b, GROUPS, c // GROUPS, h, w)))).reshape(x.shape)
    found = evaluate(raw.canonical, given, parameters, groups=GROUPS).numpy()
    assert np.abs(found - right).max() < 1e-12  # a few sums of 120 values of at most 1 in float64


@pytest.mark.parametrize("outer", AXES)
@pytest.mark.parametrize("inner", AXES)
def test_a_mean_of_a_mean_is_the_same_in_evaluation(outer, inner):
    """Both forms have the same running values after two batches, because means of means are means."""
    raw = Graph.parse(f"x + mean_{outer}(mean_{inner}(tanh(x)))")
    layers = [NormAct(graph, 4, GROUPS, backend="reference", dtype=torch.float64) for graph in (raw, raw.canonical)]
    for layer in layers:
        for seed in (1, 2):
            layer(probe(seed)[0])
        layer.eval()
    one, other = (layer(probe(3)[0]) for layer in layers)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)  # as above
    assert (one - probe(3)[0]).abs().max() > 1e-3


def test_canonical_form_keeps_values_and_gradients_of_sampled_graphs():
    compared = changed = 0
    for label, graph in seeded_graphs(800):
        if not reads_x(graph):
            continue
        try:
            same = assert_same_function(graph, graph.canonical)
        except AssertionError as error:
            raise AssertionError(label) from error
        compared += same
        changed += same and len(graph.canonical.nodes) < len([n for n in graph.live if n >= FIRST])
    # Enough graphs took part: three in ten of 1600 read x, and most of these are finite and steady.
    assert compared > 400
    assert changed > 90


@settings(max_examples=400)
@given(sampled((DENSE,)) | built(max_nodes=8))
def test_canonical_form_keeps_values_and_gradients(graph):
    assert_same_function(graph, graph.canonical)


@settings(max_examples=400)
@given(graphs() | sampled((DENSE,)))
def test_canonical_form_is_its_own_canonical_form(graph):
    canonical = graph.canonical
    assert Graph(*simplify.simplify(canonical.nodes, canonical.live)) == canonical
    assert Graph(canonical.nodes, canonical.output).key == graph.key
    # No node is dead or there twice, and no rewrite made the graph larger.
    assert [n for n in canonical.live if n >= FIRST] == list(range(FIRST, canonical.last + 1))
    assert len(set(canonical.nodes)) == len(canonical.nodes)
    assert len(canonical.nodes) <= len([n for n in graph.live if n >= FIRST])


def respelled(graph: Graph, rng: np.random.Generator) -> Graph:
    """The same graph with its nodes in another order, with dead and duplicate nodes, and arguments exchanged."""
    numbers = {number: number for number in range(FIRST)}
    leaves = rng.permutation([n for n in graph.live if FIRST <= n < graph.first])
    nodes = [graph.node(int(n)) for n in leaves]
    numbers |= {int(n): FIRST + place for place, n in enumerate(leaves)}
    waiting = list(graph.operations)
    while waiting:
        ready = [n for n in waiting if all(a in numbers for a in graph.node(n).args)]
        chosen = ready[rng.integers(len(ready))]
        op, args = graph.node(chosen)
        args = tuple(numbers[a] for a in args)
        if PRIMITIVES[op].commutative and rng.random() < 0.5:
            args = args[::-1]
        for _ in range(rng.integers(1, 3)):  # dead ones, and at times the node twice
            nodes.append(EVONORM._random_node(FIRST + len(nodes), Draws(rng)))
            nodes.append(Node(op, args))
            numbers[chosen] = FIRST + len(nodes) - 1
        waiting.remove(chosen)
    return Graph((*nodes, Node("exp", (0,))), numbers[graph.output])


@settings(max_examples=300)
@given(graphs() | sampled((DENSE,)), st.integers(0, 2**32 - 1))
def test_key_does_not_depend_on_the_spelling(graph, seed):
    other = respelled(graph, generator(seed))
    assert other.key == graph.key
    assert other.canonical == graph.canonical


def test_keys_of_published_layers_differ():
    assert len({graph.key for graph in zoo.values()}) == len(zoo)


def test_key_is_stable():
    # Keys are stored in databases and name cached kernels: a change of these is a change of format.
    assert Graph.parse("x * sigmoid(v1 * x) / std_whcg(x)").key == KEY_OF_S0
    assert len(KEY_OF_S0) == 16


KEY_OF_S0 = "01d2f5b86af0bafe"


def test_a_long_chain_of_signs_has_a_canonical_form():
    """Each f(-a) = -f(a) leaves dead nodes, which the finished graph does not have."""
    chain = Graph.parse("tanh(" * 100 + "-x" + ")" * 100)
    assert len(chain.canonical.nodes) == 101
    assert chain.key == Graph.parse("-" + "tanh(" * 100 + "x" + ")" * 100).key
