"""Leaves: parameters and numbers in graphs, in text, JSON and canonical form, and layers that have them."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import GraphError, UsageError
from evonas.language.graph import Graph, GraphBuilder, Node
from evonas.language.leaf import LEAVES, PARAMETERS, constant_name, leaf_named
from evonas.language.zoo import zoo
from evonas.layers.norm_act import NormAct
from evonas.search_spaces import SPACES
from evonas.settings.search_space import SearchSpace, generator
from tests.strategies import graphs

FINITE = st.floats(min_value=5e-324, max_value=1.7976931348623157e308)


@given(FINITE)
def test_a_number_keeps_its_bits(value: float) -> None:
    """Subnormal and largest numbers too, in text and in JSON."""
    graph = Graph.parse(f"x * {value!r}")
    assert graph.nodes[0] == Node(constant_name(value), ())
    for again in (Graph.parse(graph.expression()), Graph.from_json(graph.to_json())):
        leaf = again.leaf(4)
        assert leaf is not None and leaf.value == value


@pytest.mark.parametrize(
    ("text", "printed", "latex"),
    [
        ("0.50 * x", "0.5 * x", r"0.5 \, x"),
        ("2 * x", "2 * x", r"2 \, x"),
        (".25 * x", "0.25 * x", r"0.25 \, x"),
        ("1e-5 + x", "1e-05 + x", r"10^{-5} + x"),
        ("square(1.5e-5 + 0)", "square(1.5e-05 + 0)", r"\left(1.5 \cdot 10^{-5} + 0\right)^2"),
        ("16777217 * x", "16777217.0 * x", r"16777217.0 \, x"),
        ("x * 0.0", "x * 0", r"x \, 0"),
        ("erf(s1 * x + s0)", "erf(s1 * x + s0)", r"\operatorname{erf}\left(s_1 \, x + s_0\right)"),
    ],
)
def test_how_leaves_are_written(text: str, printed: str, latex: str) -> None:
    graph = Graph.parse(text)
    assert graph.expression() == printed and graph.latex() == latex


@pytest.mark.parametrize("name", ["s2", "0.50", "1", "-1.0", "0.0", "inf", "nan", "1e999", "", "x y"])
def test_names_of_no_leaf(name: str) -> None:
    assert leaf_named(name) is None


def test_leaves_come_once_and_before_operations() -> None:
    for nodes in (
        (Node("neg", (0,)), Node("s1", ())),
        (Node("s1", ()), Node("s1", ()), Node("neg", (4,))),
    ):
        with pytest.raises(GraphError, match="the leaf s1 must be there once, before all operations"):
            Graph(nodes, 5)
    builder = GraphBuilder()
    squared = builder.add("square", 0)
    graph = builder.build(builder.add("mul", squared, builder.add("0.5")))
    assert graph == Graph.parse("square(x) * 0.5") and graph.first == 5 and graph.operations == (5, 6)


def test_what_a_graph_tells_of_its_leaves() -> None:
    graph = Graph.parse("s1 * x + v0 + 0.5 * s0")
    assert [leaf.name for leaf in graph.parameters] == ["v0", "s0", "s1"]
    assert [leaf.name for leaf in PARAMETERS] == [leaf.name for leaf in LEAVES if leaf.start is not None]
    assert zoo["derf"].parameters == PARAMETERS[2:] and not Graph.parse("0.5 * x").parameters


@given(graphs())
def test_the_canonical_form_has_its_leaves_first_and_no_number_twice(graph: Graph) -> None:
    canonical = Graph(graph.canonical.nodes, graph.canonical.output)  # checks them
    assert Graph.from_json(canonical.to_json()) == canonical
    assert Graph.parse(canonical.expression()).key == canonical.key if len(canonical.nodes) < 40 else True


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.1 + 0.2", repr(0.1 + 0.2)),
        ("x + 1", "x + exp(0)"),  # as published layers write it
        ("x * (0.5 - 1)", "-(x * 0.5)"),
        ("exp(1000) * x", "x * exp(1000)"),  # it would not be finite
        ("log(0.5) * x", "x * log(0.5)"),  # it depends on eps
        ("x * (1 / 0.5)", "x * (exp(0) / 0.5)"),  # eps may be as large as the divisor
        ("max(0.5, exp(0)) * x", "x"),
        ("exp(0) + exp(0) + x", "x + (exp(0) + exp(0))"),  # recorded graphs keep their keys
    ],
)
def test_numbers_are_folded(text: str, canonical: str) -> None:
    assert Graph.parse(text).key == Graph.parse(canonical).key
    assert Graph.parse(text).canonical == Graph.parse(canonical).canonical


JSON = [
    ({"version": 3, "nodes": []}, "version 3; this evonas reads versions 1 and 2"),
    ({"version": "2", "nodes": []}, "version '2'"),
    ({"version": 2, "nodes": [["mul", ["x", "nan"]]]}, "'nan', which is no leaf"),
    ({"version": 2, "nodes": [["mul", ["x", "1e999"]]]}, "'1e999', which is no leaf"),
    ({"version": 2, "nodes": [["mul", ["x", "-2"]]]}, "'-2', which is no leaf"),
    ({"version": 2, "nodes": [["mul", ["x", 0.5]]]}, "node 0 must be a pair"),
    ({"version": 2, "nodes": [["mul", ["x", 0]]]}, r"node 0 \('mul'\) refers to a node that is not before it"),
    ({"version": 2, "nodes": [["neg", ["x"]], ["neg", [-1]]]}, "refers to node -1; places are counted from 0"),
    ({"version": 2, "leaves": ["s0"], "nodes": [["mul", ["x", "s1"]]]}, "'s1', which \"leaves\" does not list"),
    ({"version": 2, "leaves": "s0", "nodes": []}, '"leaves" must be a list of names'),
    ({"version": 2, "leaves": ["s0", "s0"], "nodes": []}, "the leaf s0 must be there once"),
    ({"version": 2, "nodes": [], "output": 1.5}, '"output" must be the place of a node or the name of a leaf'),
    ({"version": 2, "nodes": [["neg", ["x"]]], "output": 7}, "the output is node 11, which does not exist"),
]


@pytest.mark.parametrize(("document", "message"), JSON)
def test_json_that_is_no_graph(document: dict[str, object], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph.from_json(document)


def test_json_writes_leaves_that_no_operation_uses() -> None:
    space = SPACES["tokens"]
    member = space.embed(zoo["dyt"], generator(0))
    assert Graph.from_json(member.to_json("tokens")) == member
    assert '"leaves": ["s0", "s1", "0.5", "1.0", "2.0"]' in member.to_json()
    assert '"leaves"' not in zoo["dyt"].to_json()


@pytest.mark.parametrize("leaf", ["s3", "x", "zero", "v1", "-1", "nan", "inf", "0", 0, True, None, ["0.5"]])
def test_leaves_that_a_space_cannot_have(leaf: object) -> None:
    with pytest.raises(UsageError, match="a leaf of a space must be s0, s1 or a finite positive number"):
        SearchSpace("mine", leaves=(leaf,))  # type: ignore[arg-type]  # what a file may hold


def test_leaves_of_a_space_are_spelled_alike() -> None:
    assert SearchSpace("mine", leaves=("1", 0.5, "s1", 2, "5e-1")).leaves == ("s1", "1.0", "0.5", "2.0")  # type: ignore[arg-type]


def test_a_number_is_drawn_as_often_as_any_other_leaf() -> None:
    """Four inputs, two parameters, all numbers together and the node before have an eighth each."""
    space = SearchSpace("mine", operations=("neg",), nodes=2, leaves=("s0", "s1", "0.5", "1", "2"))
    drawn = [space.random_graph(generator(seed)).node(10).args[0] for seed in range(6000)]
    counts = [drawn.count(number) for number in range(10)]
    expected = [750.0] * 6 + [250.0] * 3 + [750.0]
    assert sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True)) < 27.9  # chi-squared, 9 degrees, 0.001


def test_no_leaf_is_drawn_with_arguments_and_numbers_mutate() -> None:
    space, changed = SPACES["tokens"], set()
    graph = space.embed(Graph.parse("0.5 * x"), generator(1))
    for seed in range(400):
        for change in (space.mutate, space.mutate_part, space.insert):
            found = change(graph, generator(seed))
            if found is None:
                continue
            child = found[0]
            assert child.nodes[: child.first - 4] == tuple(Node(name, ()) for name in space.leaves)
            assert all(node.args for node in child.nodes[child.first - 4 :])
            pairs = zip(graph.nodes, child.nodes, strict=True)
            new = [node for node, other in pairs if node != other] and child.nodes[child.first - 4 :]
            changed |= {leaf.text for node in new for a in node.args if (leaf := child.leaf(a)) is not None}
    assert {"0.5", "1", "2"} <= changed


def test_a_layer_outside_of_a_space() -> None:
    with pytest.raises(UsageError, match=r"'0.7 \* x' uses 0.7, which is not in 'tokens'"):
        SPACES["tokens"].embed(Graph.parse("0.7 * x"), generator(0))


START = [
    ({"s2": 1.0}, "start names 's2'; the parameters of this layer are: s0, s1"),
    ({"v1": 1.0}, "start names 'v1'"),
    ({"s1": float("nan")}, "start of s1 must be a finite number, not nan"),
    ({"s1": "0.5"}, "start of s1 must be a finite number"),
    ([0.5], "start must be a mapping"),
]


@pytest.mark.parametrize(("start", "message"), START)
def test_starts_that_make_no_sense(start: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        NormAct("derf", 4, start=start)


def test_what_parameters_start_at() -> None:
    named, graph = NormAct("derf", 4), NormAct(zoo["derf"], 4)
    assert named.s1 is not None and named.s1.shape == () and float(named.s1) == 0.5
    assert float(graph.s1) == 1.0 and float(NormAct("derf", 4, start={"s1": 0.25}).s1) == 0.25  # type: ignore[arg-type]
    moved = NormAct("derf", 4, start={"s0": -1.0}, device="meta").to_empty(device="cpu")
    moved.reset_parameters()
    assert (float(moved.s0), float(moved.s1)) == (-1.0, 0.5)  # type: ignore[arg-type]


def test_a_layer_with_every_kind_of_leaf() -> None:
    layer = NormAct("s1 * x + v0 + 0.5 * s0 + max(x, 1e300)", 3, dtype=torch.float64)
    with torch.no_grad():
        layer.s0.copy_(torch.tensor(0.3)), layer.s1.copy_(torch.tensor(-2.0)), layer.v0.copy_(torch.arange(3))  # type: ignore[union-attr]
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(x), -2 * x + torch.arange(3).view(3, 1) + 0.15 + 1e300)
    assert math.isinf(float(NormAct("max(x, 1e300)", 3)(x.float()).max()))  # as float32 has it
