"""Graph to JSON and back.

    {"space": "evonorm", "nodes": [["mul", [3, 0]], ["sigmoid", [4]]]}

Nodes are numbered from 4, after the inputs; the last is the output. A graph whose output is another node names it in
"output". JSON may come from anywhere, so everything about it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from evonas.errors import GraphError, shorten
from evonas.language.node import FIRST, Node, X, check_size, is_number

MAX_JSON = 100_000
"""Longest JSON text that is read, in characters."""

DEFAULT_SPACE = "evonorm"
"""What "space" says of a graph whose space is not known: readers check that it is a string and ignore it. The name is
part of the bytes of exported files and of the text by which kernels are cached, so it stays."""


def write(nodes: Sequence[Node], output: int, space: str) -> str:
    """The graph of `output` as one line of JSON."""
    document: dict[str, object] = {"space": space, "nodes": [[op, list(args)] for op, args in nodes]}
    if output != _default_output(nodes):
        document["output"] = output
    return json.dumps(document)


def read(source: str | bytes | Mapping[str, object]) -> tuple[tuple[Node, ...], int]:
    """The operations and the output in JSON text or in the object it holds; numbers of nodes are not checked.

    Raises:
        GraphError: when the JSON does not have the form of a graph; the message names the node.
    """
    if isinstance(source, (str, bytes)):
        if len(source) > MAX_JSON:
            raise GraphError(f"the JSON is {len(source):,} characters long; at most {MAX_JSON:,} are read")
        try:
            document: object = json.loads(source)
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise GraphError(f"a graph must be JSON: {reason}") from None
    else:
        document = source
    if not isinstance(document, Mapping):
        raise GraphError(f'a graph must be a JSON object with "nodes", not {shorten(document)}')
    rows = document.get("nodes")
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise GraphError('a graph needs "nodes", a list such as [["mul", [3, 0]], ["sigmoid", [4]]]')
    check_size(rows)
    if not isinstance(document.get("space", ""), str):
        raise GraphError(f'"space" must be a name, not {shorten(document["space"])}')
    nodes = tuple(_json_node(number, row) for number, row in enumerate(rows, FIRST))
    output = document.get("output", _default_output(nodes))
    if not is_number(output):
        raise GraphError(f'"output" must be the number of a node, not {shorten(output)}')
    return nodes, output


def _default_output(nodes: Sequence[Node]) -> int:
    """The last operation; x where there are none."""
    return FIRST + len(nodes) - 1 if nodes else X


def _json_node(number: int, row: object) -> Node:
    if isinstance(row, Sequence) and not isinstance(row, (str, bytes)) and len(row) == 2:
        op, args = row
        if isinstance(op, str) and isinstance(args, Sequence) and _all_numbers(args):
            return Node(op, tuple(args))
    raise GraphError(
        f'node {number} must be a pair such as ["mul", [3, 0]], an operation and node numbers, not {shorten(row)}'
    )


def _all_numbers(values: Iterable[object]) -> bool:
    return not isinstance(values, (str, bytes)) and all(is_number(value) for value in values)
