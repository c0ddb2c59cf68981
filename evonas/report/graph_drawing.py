"""Converts graphs to networkx graphs, to trees for terminals, and to pictures.

A picture runs from left to right: the input, one column per depth, the affine and the output. Statistics have a colour
of their own. networkx, rich and matplotlib are imported only when they are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evonas.errors import UsageError
from evonas.language.graph import Graph, X
from evonas.language.primitive_table import PRIMITIVES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import networkx as nx
    from rich.tree import Tree

INPUT, PARAMETER, CONSTANT, ELEMENTWISE, STATISTIC = "input", "parameter", "constant", "element-wise", "statistic"
AFFINE, OUTPUT = "affine", "output"
_STYLES = {INPUT: "bold blue", PARAMETER: "magenta", CONSTANT: "dim", ELEMENTWISE: "default", STATISTIC: "yellow"}
_SIGNS = {"*": "×", "/": "÷", "-": "−"}  # typographic signs for those of the expression language


def to_networkx(graph: Graph) -> nx.DiGraph:
    """Converts the live nodes of a graph to a networkx graph, with edges from arguments to operations.

    The nodes are the numbers of the graph's nodes. Their attributes are `label`, `kind` ("input", "parameter",
    "constant", "element-wise" or "statistic"), `op` (empty for inputs) and `index_set` (empty except for statistics).
    An edge has the attribute `places`, the positions of the argument: `(0, 1)` in a square written as a product.
    """
    import networkx as nx

    drawn = nx.DiGraph()
    for number in graph.live:
        leaf = graph.leaf(number)
        if leaf is not None:
            kind = PARAMETER if leaf.is_parameter else INPUT if number == X else CONSTANT
            drawn.add_node(number, label=leaf.text if leaf.value else leaf.name, kind=kind, op="", index_set="")
            continue
        name, args = graph.node(number)
        row = PRIMITIVES[name]
        index_set = row.index_set.value if row.index_set is not None else ""
        kind = STATISTIC if row.is_aggregation else ELEMENTWISE
        drawn.add_node(number, label=_label(name), kind=kind, op=name, index_set=index_set)
        for argument in dict.fromkeys(args):
            places = tuple(place for place, other in enumerate(args) if other == argument)
            drawn.add_edge(argument, number, places=places)
    return drawn


def tree(graph: Graph) -> Tree:
    """Converts a graph to a tree for a terminal, with the output as its root.

    A node that is used more than once is numbered, and expanded only where it first appears; later uses refer to its
    number.
    """
    from rich.text import Text
    from rich.tree import Tree

    drawn = to_networkx(graph)
    uses = {node: sum(len(places) for _, _, places in drawn.out_edges(node, "places")) for node in drawn}
    references: dict[int, int] = {}

    def grow(number: int, parent: Tree | None) -> Tree:
        attributes = drawn.nodes[number]
        text = Text(attributes["label"], style=_STYLES[attributes["kind"]])
        again = number in references
        if again:
            text.append(f" (see {references[number]})", style="dim")
        elif number >= graph.first and uses[number] > 1:
            references[number] = len(references) + 1
            text.append(f" [{references[number]}]", style="dim")
        branch = Tree(text) if parent is None else parent.add(text)
        if not again and number >= graph.first:
            for argument in graph.node(number).args:
                grow(argument, branch)
        return branch

    return grow(graph.output, None)


def picture(graph: Graph, path: str | Path, title: str | None = None) -> Path:
    """Draws a graph and saves it as an SVG or PNG file.

    Args:
        graph: the graph.
        path: the file to write, whose suffix decides the format; an existing file is replaced.
        title: the text above the drawing.

    Returns:
        The path.

    Raises:
        UsageError: if the suffix is neither .svg nor .png, matplotlib is missing, or the file cannot be written.
    """
    from evonas.report.graph_sheet import draw_sheet

    return draw_sheet({title or "": framed(graph)}, Path(path), columns=1)


def gallery(graphs: Mapping[str, Graph], path: str | Path) -> Path:
    """Draws several graphs by name on one sheet, two in a row; otherwise like `picture`.

    Raises:
        UsageError: for the same reasons as in `picture`, or if `graphs` is empty.
    """
    if not graphs:
        raise UsageError("there is no layer to draw")
    from evonas.report.graph_sheet import draw_sheet

    drawings = {name: framed(graph) for name, graph in graphs.items()}
    return draw_sheet(drawings, Path(path), columns=min(2, len(graphs)))


def framed(graph: Graph) -> nx.DiGraph:
    """Converts a graph to the networkx graph that is drawn: with the affine and the output as further nodes.

    Every node has a `label` and a `kind`, and every edge a `mark`, the text at the arrow's end, which may be empty.
    """
    import networkx as nx

    drawn = to_networkx(graph)
    for number, data in drawn.nodes(data=True):
        leaf = graph.leaf(number)
        if leaf is not None:
            data["label"] = leaf.label
    for _, target, data in drawn.edges(data=True):
        data["mark"] = _mark(graph.node(target).op, data["places"])
    drawn.add_node(AFFINE, label=r"$\gamma\,y + \beta$", kind=AFFINE)
    drawn.add_node(OUTPUT, label="output", kind=OUTPUT)
    nx.add_path(drawn, [graph.output, AFFINE, OUTPUT], mark="")
    return drawn


def _mark(name: str, places: tuple[int, ...]) -> str:
    """The text at an arrow's end: the argument's position if the order matters, or "twice"."""
    if len(places) > 1:
        return "twice"
    return str(places[0] + 1) if PRIMITIVES[name].arity > 1 and not PRIMITIVES[name].commutative else ""


def _label(name: str) -> str:
    """The text in an operation's box: its sign if it has one, else its name."""
    sign = PRIMITIVES[name].infix
    return _SIGNS.get(sign, sign) if sign else name
