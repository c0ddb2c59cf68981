"""Graphs as values: construction, validation, JSON both ways, and hostile JSON."""

import copy
import json
import time
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.errors import GraphError
from evonas.language.graph import MAX_NODES, ZERO, Graph, GraphBuilder, Node, X, trimmed
from evonas.language.graph_json import MAX_JSON
from evonas.language.primitive_table import PRIMITIVES
from tests.strategies import graphs

S0 = {
    "space": "evonorm",
    "nodes": [["mul", [3, 0]], ["sigmoid", [4]], ["mul", [0, 5]], ["std_whcg", [0]], ["div", [6, 7]]],
}


def test_a_graph_is_a_value():
    one, two = Graph((Node("neg", (0,)),), 4), Graph((Node("neg", (0,)),), 4)
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two, Graph((Node("abs", (0,)),), 4)}) == 2
    with pytest.raises(FrozenInstanceError):
        one.output = 0


def test_live_nodes_and_trimming():
    nodes = (Node("neg", (0,)), Node("exp", (1,)), Node("add", (4, 2)), Node("abs", (5,)))
    graph = Graph(nodes, 6)
    assert graph.live == (0, 2, 4, 6)
    assert graph.last == 7
    assert graph.node(5) == Node("exp", (1,))
    assert trimmed(nodes, 6) == Graph((Node("neg", (0,)), Node("add", (4, 2))), 5)
    assert trimmed(nodes, X) == Graph((), X)


@pytest.mark.parametrize(
    ("nodes", "output", "message"),
    [
        ([("cosh", (0,))], 4, "node 4: unknown operation 'cosh'"),
        ([("neg", (0,)), ("add", (0,))], 5, "node 5: add takes 2 arguments, not 1"),
        ([("neg", (0, 1))], 4, "node 4: neg takes one argument, not 2"),
        ([("neg", ())], 4, "node 4: neg takes one argument, not 0"),
        ([("neg", (4,))], 4, "node 4: neg refers to node 4; only the earlier nodes 0 to 3"),
        ([("neg", (5,)), ("neg", (4,))], 5, "node 4: neg refers to node 5"),
        ([("neg", (-1,))], 4, "node 4: neg refers to node -1"),
        ([("neg", (0,))], 5, "the output is node 5, which does not exist"),
        ([("neg", (0,))], -1, "the output is node -1"),
        ([("neg", (0,))] * (MAX_NODES + 1), 4, f"at most {MAX_NODES}"),
    ],
)
def test_an_invalid_graph_is_refused(nodes, output, message):
    with pytest.raises(GraphError, match=message):
        Graph(tuple(Node(*node) for node in nodes), output)


def test_builder_merges_equal_nodes_and_refuses_bad_ones():
    builder = GraphBuilder()
    square = builder.add("square", X)
    assert builder.add("square", X) == square
    assert builder.build(builder.add("add", square, ZERO)).nodes == (
        Node("square", (0,)),
        Node("add", (4, 1)),
    )
    with pytest.raises(GraphError, match="refers to node"):
        builder.add("neg", 99)
    with pytest.raises(GraphError, match=f"more than {MAX_NODES}"):
        number = square
        while True:
            number = builder.add("neg", number)


def test_builder_takes_as_many_operations_as_its_limit():
    builder = GraphBuilder(limit=2)
    for name in ("neg", "abs", "neg"):
        builder.add(name, X)
    with pytest.raises(GraphError, match="more than 2"):
        builder.add("exp", X)
    assert len(builder.nodes) == 2


def test_builder_finds_the_first_of_nodes_that_were_added_as_they_are():
    builder = GraphBuilder()
    assert [builder.append(Node("neg", (X,))) for _ in range(2)] == [4, 5]
    assert builder.add("neg", X) == 4


def test_json_of_the_spec():
    graph = Graph.from_json(S0)
    assert graph.expression() == "x * sigmoid(v1 * x) / std_whcg(x)"
    assert graph == Graph.from_json(json.dumps(S0)) == Graph.from_json(json.dumps(S0).encode())
    named = [["mul", ["v1", "x"]], ["sigmoid", [0]], ["mul", ["x", 1]], ["std_whcg", ["x"]], ["div", [2, 3]]]
    assert json.loads(graph.to_json()) == {"version": 2, "space": "evonorm", "nodes": named}
    assert Graph.from_json({"version": 2, "nodes": named}) == graph
    assert json.loads(graph.to_json("other"))["space"] == "other"


def test_json_without_operations_is_x():
    assert Graph.from_json({"nodes": []}) == Graph((), X)


@given(graphs())
def test_json_round_trip(graph):
    text = graph.to_json()
    assert Graph.from_json(text) == graph
    assert Graph.from_json(json.loads(text)) == graph
    assert "\n" not in text


NEST = 50_000  # two characters a level: as deep as the limit on length allows
HOSTILE = {
    "empty": "",
    "null byte": "\0",
    "null": "null",
    "true": "true",
    "a number": "7",
    "a string": '"x"',
    "a list": "[]",
    "no nodes": "{}",
    "nodes null": '{"nodes": null}',
    "nodes a string": '{"nodes": "xx"}',
    "nodes an object": '{"nodes": {"0": ["neg", [0]]}}',
    "cut off": '{"nodes": [["neg", [0]]',
    "trailing": '{"nodes": []} x',
    "node null": '{"nodes": [null]}',
    "node an object": '{"nodes": [{"op": "neg", "args": [0]}]}',
    "node of three": '{"nodes": [["neg", [0], 1]]}',
    "operation a number": '{"nodes": [[1, [0]]]}',
    "operation a list": '{"nodes": [[["neg"], [0]]]}',
    "unknown operation": '{"nodes": [["__import__", [0]]]}',
    "lookalike operation": '{"nodes": [["n\u0435g", [0]]]}',
    "operation with a null byte": '{"nodes": [["neg\\u0000", [0]]]}',
    "lone surrogate": '{"nodes": [["\\ud800", [0]]]}',
    "long operation": '{"nodes": [["' + "a" * 90_000 + '", [0]]]}',
    "wrong arity": '{"nodes": [["add", [0]]]}',
    "no arguments": '{"nodes": [["neg", []]]}',
    "many arguments": '{"nodes": [["add", [' + "0," * 40_000 + "0]]]}",
    "arguments a string": '{"nodes": [["neg", "0"]]}',
    "argument a boolean": '{"nodes": [["neg", [true]]]}',
    "argument a float": '{"nodes": [["neg", [0.0]]]}',
    "argument NaN": '{"nodes": [["neg", [NaN]]]}',
    "argument Infinity": '{"nodes": [["neg", [-Infinity]]]}',
    "argument null": '{"nodes": [["neg", [null]]]}',
    "argument negative": '{"nodes": [["neg", [-1]]]}',
    "argument large": '{"nodes": [["neg", [' + "9" * 4000 + "]]]}",
    "argument huge": '{"nodes": [["neg", [' + "9" * 90_000 + "]]]}",
    "itself": '{"nodes": [["neg", [4]]]}',
    "a cycle": '{"nodes": [["neg", [5]], ["neg", [4]]]}',
    "output elsewhere": '{"nodes": [["neg", [0]]], "output": 9}',
    "output huge": '{"nodes": [["neg", [0]]], "output": ' + "9" * 4000 + "}",
    "output a boolean": '{"nodes": [["neg", [0]]], "output": true}',
    "output null": '{"nodes": [["neg", [0]]], "output": null}',
    "space a number": '{"nodes": [], "space": 1}',
    "too many nodes": '{"nodes": [' + '["neg",[0]],' * MAX_NODES + '["neg",[0]]]}',
    "brackets": "[" * NEST + "]" * NEST,
    "brackets in a node": '{"nodes": [' + "[" * 40_000 + "]" * 40_000 + "]}",
    "objects": '{"nodes":' * 9_000 + "1" + "}" * 9_000,
    "10 MB of brackets": "[" * 10_000_000,
    "10 MB of digits": "1" * 10_000_000,
    "not UTF-8": b"\xff\xfe\xfa",
    "10 MB of bytes": b"[" * 10_000_000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_gets_a_short_error_soon(source):
    start = time.process_time()
    with pytest.raises(GraphError) as caught:
        Graph.from_json(source)
    # Each takes milliseconds of processor time; a quadratic reader would take minutes.
    assert time.process_time() - start < 1.0
    assert 10 < len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", range(100, 1000, 90))
def test_brackets_that_json_can_read_are_refused_too(depth):
    for opening, closing in (("[", "]"), ('{"nodes": [["neg", ', "]]}")):
        with pytest.raises(GraphError):
            Graph.from_json(opening + "[" * depth + "]" * depth + closing)


@pytest.mark.parametrize(
    "source",
    [
        None,
        5,
        True,
        [],
        {1, 2},
        {"nodes": [["neg", [10**4000]]]},
        {"nodes": [["neg", [10**5000]]]},
        {"nodes": [], "output": 10**5000},
    ],
)
def test_hostile_objects(source):
    with pytest.raises(GraphError):
        Graph.from_json(source)


def test_a_message_names_the_node_and_what_is_known():
    with pytest.raises(GraphError) as caught:
        Graph.from_json({"nodes": [["neg", [0]], ["relu", [4]]]})
    assert str(caught.value).startswith("node 5: unknown operation 'relu'; known: ")
    assert all(name in str(caught.value) for name in PRIMITIVES)
    with pytest.raises(GraphError, match=f"at most {MAX_JSON:,}"):
        Graph.from_json(" " * (MAX_JSON + 1))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(sorted(PRIMITIVES)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["nodes", "output", "space"]), inner),
    max_leaves=6,
)
_PAIRS = st.tuples(
    st.sampled_from(sorted(PRIMITIVES)) | st.text(), st.lists(st.integers(-2, 9) | _VALUES, max_size=3)
).map(list)


@given(_VALUES | st.fixed_dictionaries({"nodes": st.lists(_PAIRS | _VALUES, max_size=4)}, optional={"output": _VALUES}))
def test_any_json_is_a_graph_or_a_graph_error(document):
    for source in (document, json.dumps(document)):
        try:
            graph = Graph.from_json(source)
        except GraphError as error:
            assert str(error)
        else:
            assert Graph.from_json(graph.to_json()) == graph


@pytest.mark.parametrize("output", [4.0, "4", None, True])
def test_an_output_that_is_not_a_number(output):
    with pytest.raises(GraphError):
        Graph((Node("tanh", (0,)),), output)


@pytest.mark.parametrize("node", [Node(["tanh"], (0,)), Node("tanh", ("x",)), Node("tanh", (0.0,))])
def test_a_node_of_the_wrong_types(node):
    with pytest.raises(GraphError):
        Graph((node,), 4)


def test_text_for_people_is_cut_and_never_fails():
    builder = GraphBuilder()
    number = X
    for _ in range(40):
        number = builder.add("add", number, number)
    assert builder.build(number).written() == "a graph of 41 nodes"
    assert Graph.parse("x").written() == "x"
    assert len(Graph.parse(" + ".join(["x * v1"] * 60)).written(20)) == 20


def test_a_copy_is_the_graph_itself() -> None:
    graph = Graph.parse("x * sigmoid(x)")
    assert copy.deepcopy(graph) is graph
