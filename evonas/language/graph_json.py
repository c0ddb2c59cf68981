"""Graph to JSON and back.

    {"version": 2, "space": "evonorm", "nodes": [["mul", ["v1", "x"]], ["sigmoid", [0]]]}

A row of "nodes" is an operation and its arguments: names of leaves, numbers written as text ("0.5"), or the places of
earlier rows, counted from 0. The last row is the output; a graph whose output is something else names it in "output".
"leaves" lists the leaves beside `x`, `zero`, `v0` and `v1` where the rows do not tell which there are: members of a
search space hold leaves that no operation uses yet.

Version 1, which names no version, knew the four inputs only and counted nodes from 4, after the inputs:

    {"space": "evonorm", "nodes": [["mul", [3, 0]], ["sigmoid", [4]]]}

It is read for ever. JSON may come from anywhere, so everything about it is checked.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from evonas.errors import GraphError, shorten
from evonas.language.leaf import NUMBER, constant_name, leaf_named
from evonas.language.node import FIRST, INPUTS, Node, X, check_size, is_number

MAX_JSON = 100_000
"""Longest JSON text that is read, in characters."""

VERSION = 2
DEFAULT_SPACE = "evonorm"
"""What "space" says of a graph whose space is not known: readers check that it is a string and ignore it."""


def write(nodes: Sequence[Node], output: int, space: str) -> str:
    """The graph of `output` as one line of JSON."""
    leaves = [op for op, args in nodes if not args]
    names = dict(enumerate([*INPUTS, *leaves]))

    def reference(number: int) -> int | str:
        return names.get(number, number - len(names))

    rows = [[op, [reference(a) for a in args]] for op, args in nodes[len(leaves) :]]
    document: dict[str, object] = {"version": VERSION, "space": space}
    if leaves != _leaves_of(rows, reference(output)):
        document["leaves"] = leaves
    document["nodes"] = rows
    if reference(output) != _default_output(rows):
        document["output"] = reference(output)
    return json.dumps(document)


def read(source: str | bytes | Mapping[str, object]) -> tuple[tuple[Node, ...], int]:
    """The nodes and the output in JSON text or in the object it holds; `Graph` checks what refers to what.

    Raises:
        GraphError: when the JSON does not have the form of a graph; the message names the node.
    """
    document = _document(source)
    version = document.get("version", 1)
    if not is_number(version) or version not in (1, VERSION):
        raise GraphError(
            f"the JSON of a graph has version {shorten(version)}; this evonas reads versions 1 and {VERSION}"
        )
    example = '["mul", [3, 0]]' if version == 1 else '["mul", ["v1", "x"]]'
    rows = document.get("nodes")
    if not isinstance(rows, Sequence) or isinstance(rows, (str, bytes)):
        raise GraphError(f'a graph needs "nodes", a list such as [{example}, …]')
    check_size(rows)
    if not isinstance(document.get("space", ""), str):
        raise GraphError(f'"space" must be a name, not {shorten(document["space"])}')
    return _read_numbered(document, rows, example) if version == 1 else _read_named(document, rows, example)


def _document(source: str | bytes | Mapping[str, object]) -> Mapping[str, object]:
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
    return document


def _read_numbered(
    document: Mapping[str, object], rows: Sequence[object], example: str
) -> tuple[tuple[Node, ...], int]:
    """Version 1."""
    nodes = tuple(_row(number, row, is_number, example) for number, row in enumerate(rows, FIRST))
    output = document.get("output", FIRST + len(nodes) - 1 if nodes else X)
    if not is_number(output):
        raise GraphError(f'"output" must be the number of a node, not {shorten(output)}')
    return nodes, output


def _read_named(document: Mapping[str, object], rows: Sequence[object], example: str) -> tuple[tuple[Node, ...], int]:
    """Version 2."""
    read_rows = [_row(number, row, _is_reference, example) for number, row in enumerate(rows)]
    output = document.get("output", _default_output(rows))
    if not _is_reference(output):
        raise GraphError(f'"output" must be the place of a node or the name of a leaf, not {shorten(output)}')
    given = document.get("leaves")
    if given is not None and not (isinstance(given, Sequence) and not isinstance(given, (str, bytes))):
        raise GraphError(f'"leaves" must be a list of names, not {shorten(given)}')
    leaves = _leaves_of(read_rows, output) if given is None else [_leaf(name, '"leaves"') for name in given]
    numbers = {name: number for number, name in enumerate([*INPUTS, *leaves])}

    def number_of(reference: object, where: str) -> int:
        if is_number(reference):
            if reference < 0:
                raise GraphError(f"{where} refers to node {reference}; places are counted from 0")
            return FIRST + len(leaves) + reference
        name = _leaf(reference, where)
        if name not in numbers:
            raise GraphError(f'{where} uses {shorten(name)}, which "leaves" does not list')
        return numbers[name]

    nodes = [Node(name, ()) for name in leaves]
    for place, (op, args) in enumerate(read_rows):
        where = f"node {place} ({shorten(op)})"
        numbered = tuple(number_of(a, where) for a in args)
        if any(a >= FIRST + len(leaves) + place for a in numbered):
            raise GraphError(f"{where} refers to a node that is not before it")
        nodes.append(Node(op, numbered))
    return tuple(nodes), number_of(output, '"output"')


def _leaves_of(rows: Sequence[Sequence[object]], output: object) -> list[str]:
    """The leaves beside the inputs that some rows use, in the order of their first use."""
    used = [a for _, args in rows if isinstance(args, Sequence) for a in args] + [output]
    names = dict.fromkeys(_leaf(a, "a node") for a in used if isinstance(a, str))
    return [name for name in names if name not in INPUTS]


def _leaf(name: object, where: str) -> str:
    """The name of a leaf as graphs spell it.

    Raises:
        GraphError: if there is no such leaf.
    """
    if isinstance(name, str) and re.fullmatch(NUMBER, name):
        value = float(name)
        if value == 0.0:
            return "zero"
        if math.isfinite(value):
            return constant_name(value)
    if not isinstance(name, str) or leaf_named(name) is None:
        raise GraphError(
            f"{where} uses {shorten(name)}, which is no leaf: neither {', '.join(INPUTS)}, s0 or s1 nor a finite "
            "positive number"
        )
    return name


def _default_output(rows: Sequence[object]) -> int | str:
    """The last row; x where there are none."""
    return len(rows) - 1 if rows else INPUTS[X]


def _row(number: int, row: object, is_argument: Callable[[object], bool], example: str) -> Node:
    if isinstance(row, Sequence) and not isinstance(row, (str, bytes)) and len(row) == 2:
        op, args = row
        is_list = isinstance(args, Sequence) and not isinstance(args, (str, bytes))
        if isinstance(op, str) and is_list and all(is_argument(a) for a in args):
            return Node(op, tuple(args))
    raise GraphError(
        f"node {number} must be a pair such as {example}, an operation and its arguments, not {shorten(row)}"
    )


def _is_reference(value: object) -> bool:
    return is_number(value) or isinstance(value, str)
