"""A graph as a notebook shows it: its formula, its expression, and its tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.language.mathml import mathml
from evonas.notebook import block, code, folded, items, paragraph, wide

if TYPE_CHECKING:
    from markupsafe import Markup

    from evonas.language.graph import Graph

_MAX_TEXT = 300  # characters of an expression


def graph_html(graph: Graph, *about: str) -> Markup:
    """A graph as HTML.

    Args:
        graph: the graph.
        about: lines to put between the expression and the tree; `Markup` is taken as it is.
    """
    formula, written = mathml(graph), paragraph(code(graph.written(_MAX_TEXT)))
    parts = [wide(formula)] if formula is not None else []
    return block(*parts, written, *about, folded("tree", tree_html(graph)))


def tree_html(graph: Graph) -> Markup:
    """The tree of a graph as nested lists, with the output as its root.

    A value that is used more than once is numbered, and written out only where it first appears.
    """
    uses = [argument for number in graph.live if graph.leaf(number) is None for argument in graph.node(number).args]
    numbers: dict[int, int] = {}

    def grow(number: int) -> Markup:
        leaf = graph.leaf(number)
        if leaf is not None:
            return code(leaf.text if leaf.value else leaf.name)
        name, args = graph.node(number)
        if number in numbers:
            return block(code(name), f" (see {numbers[number]})")
        mark = ""
        if uses.count(number) > 1:
            numbers[number] = len(numbers) + 1
            mark = f" [{numbers[number]}]"
        return block(code(name), mark, items(grow(argument) for argument in args))

    return items([grow(graph.output)])
