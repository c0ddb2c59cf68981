"""Graph to JSON and back.

    {"space": "evonorm", "nodes": [["mul", [3, 0]], ["sigmoid", [4]]]}

Nodes are numbered from 4, after the inputs; the last is the output. A graph whose output is another node says
so in "output". What is read comes from anywhere, so everything about it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from evonas.errors import GraphError, shorten
from evonas.language.graph import FIRST, MAX_NODES, Graph, Node, X, is_number

MAX_JSON = 100_000
"""Longest JSON text that is read, in characters."""


def write(graph: Graph, space: str) -> str:
    """The graph as one line of JSON; see `Graph.to_json`."""
    document: dict[str, object] = {"space": space, "nodes": [[op, list(args)] for op, args in graph.nodes]}
    if graph.output != (graph.last if graph.nodes else X):
        document["output"] = graph.output
    return json.dumps(document)


def read(source: str | bytes | Mapping[str, object]) -> Graph:
    """The graph that JSON describes; see `Graph.from_json`."""
    if isinstance(source, (str, bytes)):
        if len(source) > MAX_JSON:
            raise GraphError(f"the JSON is {len(source):,} characters long; at most {MAX_JSON:,} are read")
        try:
            document: object = json.loads(source)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise GraphError(f"a graph should be JSON, but {reason}") from None
    else:
        document = source
    if not isinstance(document, Mapping):
        raise GraphError(f'a graph is a JSON object with "nodes", not {shorten(document)}')
    rows = document.get("nodes")
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise GraphError('a graph needs "nodes", a list such as [["mul", [3, 0]], ["sigmoid", [4]]]')
    if len(rows) > MAX_NODES:
        raise GraphError(f"the graph has {len(rows)} operations; at most {MAX_NODES} are allowed")
    if not isinstance(document.get("space", ""), str):
        raise GraphError(f'"space" should be a name, not {shorten(document["space"])}')
    nodes = tuple(_json_node(number, row) for number, row in enumerate(rows, FIRST))
    output = document.get("output", FIRST + len(nodes) - 1 if nodes else X)
    if not is_number(output):
        raise GraphError(f'"output" should be the number of a node, not {shorten(output)}')
    return Graph(nodes, output)


def _json_node(number: int, row: object) -> Node:
    if isinstance(row, Sequence) and not isinstance(row, (str, bytes)) and len(row) == 2:
        op, args = row
        if isinstance(op, str) and isinstance(args, Sequence) and _all_numbers(args):
            return Node(op, tuple(args))
    raise GraphError(
        f'node {number}: should be a pair such as ["mul", [3, 0]], an operation and node numbers, not {shorten(row)}'
    )


def _all_numbers(values: Iterable[object]) -> bool:
    return not isinstance(values, (str, bytes)) and all(is_number(value) for value in values)
