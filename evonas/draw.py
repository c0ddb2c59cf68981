"""Draws graphs: as a networkx graph, as a tree for terminals, and as pictures.

A picture reads from left to right: the input, one column per depth, the affine, the output; statistics
stand out by their colour. networkx is imported here, and rich and matplotlib only where they are used, so
that this file is to be imported by those alone who draw.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx

from evonas.errors import UsageError, shorten
from evonas.graph import FIRST, INPUTS, V0, V1, ZERO, Graph, X
from evonas.layout import Layout, layered
from evonas.ops import OPS

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from rich.tree import Tree

INPUT, PARAMETER, CONSTANT, ELEMENTWISE, STATISTIC = "input", "parameter", "constant", "element-wise", "statistic"
AFFINE, OUTPUT = "affine", "output"
_INPUT_KINDS = {X: INPUT, ZERO: CONSTANT, V0: PARAMETER, V1: PARAMETER}
_INPUT_LABELS = {X: "x", ZERO: "0", V0: "$v_0$", V1: "$v_1$"}

# Fill, edge. Light fills under dark text stay readable in print; hues differ for the colour-blind too.
_COLOURS = {
    INPUT: ("#cfe8ff", "#1f6fb2"),
    PARAMETER: ("#e6dcf7", "#6b4fa0"),
    CONSTANT: ("#eeeeee", "#777777"),
    ELEMENTWISE: ("#ffffff", "#444444"),
    STATISTIC: ("#ffe3bf", "#c46a00"),
    AFFINE: ("#e6dcf7", "#6b4fa0"),
    OUTPUT: ("#cfe8ff", "#1f6fb2"),
}
_STYLES = {INPUT: "bold blue", PARAMETER: "magenta", CONSTANT: "dim", ELEMENTWISE: "default", STATISTIC: "yellow"}
_SIGNS = {"*": "×", "/": "÷", "-": "−"}  # as printers set what is typed so
_ACROSS, _DOWN = 1.5, 0.75  # distance of columns and of nodes within a column, in inches
_WIDTH, _HEIGHT = 0.98, 0.46  # of a node's box, in inches
_TITLE = 0.45  # room above a drawing, in inches


def to_networkx(graph: Graph) -> nx.DiGraph:
    """The live nodes of `graph`, edges from arguments to operations.

    Nodes bear their numbers and have `label`, `kind` ("input", "parameter", "constant", "element-wise" or
    "statistic"), `op` ("" for inputs) and `index_set` ("" but for statistics). An edge has `places`, which
    of the operation's arguments it is: `(0, 1)` in a square written as a product.
    """
    drawn = nx.DiGraph()
    for number in graph.live:
        if number < FIRST:
            drawn.add_node(number, label=INPUTS[number], kind=_INPUT_KINDS[number], op="", index_set="")
            continue
        name, args = graph.node(number)
        row = OPS[name]
        index_set = row.index_set.value if row.index_set is not None else ""
        kind = STATISTIC if row.is_aggregation else ELEMENTWISE
        drawn.add_node(number, label=_label(name), kind=kind, op=name, index_set=index_set)
        for argument in dict.fromkeys(args):
            places = tuple(place for place, other in enumerate(args) if other == argument)
            drawn.add_edge(argument, number, places=places)
    return drawn


def tree(graph: Graph) -> Tree:
    """The graph as a tree for a terminal, the output at its root.

    A node that is used more than once is numbered and expanded where it first appears; later uses refer
    to it by its number.
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
        elif number >= FIRST and uses[number] > 1:
            references[number] = len(references) + 1
            text.append(f" [{references[number]}]", style="dim")
        branch = Tree(text) if parent is None else parent.add(text)
        if not again and number >= FIRST:
            for argument in graph.node(number).args:
                grow(argument, branch)
        return branch

    return grow(graph.output, None)


def picture(graph: Graph, path: str | Path, title: str | None = None) -> Path:
    """Draw `graph` into an SVG or PNG file, by the suffix of `path`; a file that is there is replaced.

    Raises:
        UsageError: for another suffix, or a place that cannot be written to.
    """
    return _sheet({title or "": graph}, Path(path), columns=1)


def gallery(graphs: Mapping[str, Graph], path: str | Path) -> Path:
    """Draw several graphs by name on one sheet, two in a row, as `picture` does.

    Raises:
        UsageError: as `picture`, or when there is no graph.
    """
    if not graphs:
        raise UsageError("there is no layer to draw")
    return _sheet(graphs, Path(path), columns=min(2, len(graphs)))


def _sheet(graphs: Mapping[str, Graph], path: Path, columns: int) -> Path:
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"a picture is an .svg or a .png file, not {shorten(path.name)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib; install it with: pip install matplotlib") from None

    names = list(graphs)
    panels = [_panel(graph) for graph in graphs.values()]
    rows = [range(start, min(start + columns, len(panels))) for start in range(0, len(panels), columns)]
    sizes = [_size(panel[1], bool(name)) for panel, name in zip(panels, names, strict=True)]
    widths = [max(sizes[i][0] for i in range(c, len(panels), columns)) for c in range(columns)]
    heights = [max(sizes[i][1] for i in row) for row in rows]
    figure = Figure(figsize=(sum(widths), sum(heights)))
    for row_number, row in enumerate(rows):
        for column, i in enumerate(row):
            left, bottom = sum(widths[:column]), sum(heights[row_number + 1 :])
            # Each panel in inches of its own, hanging from the top of its row.
            bottom += heights[row_number] - sizes[i][1]
            extent = (left / sum(widths), bottom / sum(heights))
            share = (sizes[i][0] / sum(widths), sizes[i][1] / sum(heights))
            axes = figure.add_axes((*extent, *share))
            _draw(axes, *panels[i], names[i], sizes[i])
    try:
        # Text stays text, and the same graph gives the same file.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evonas"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UsageError(f"cannot write {shorten(str(path), 200)}: {error}") from None
    return path


def _panel(graph: Graph) -> tuple[nx.DiGraph, Layout]:
    """The graph with its affine and output, and where it all is placed."""
    drawn = to_networkx(graph)
    for node, data in drawn.nodes(data=True):
        data["label"] = _INPUT_LABELS.get(node, data["label"])
    drawn.add_node(AFFINE, label=r"$\gamma\,y + \beta$", kind=AFFINE, index_set="")
    drawn.add_node(OUTPUT, label="output", kind=OUTPUT, index_set="")
    drawn.add_edge(graph.output, AFFINE, places=(0,))
    drawn.add_edge(AFFINE, OUTPUT, places=(0,))
    return drawn, layered(drawn, anchor=X)


def _size(layout: Layout, has_title: bool) -> tuple[float, float]:
    across = 1 + max(x for x, _ in layout.place.values())
    down = 1 + max(y for _, y in layout.place.values())
    return across * _ACROSS + 0.2, down * _DOWN + 0.2 + _TITLE * has_title


def _draw(axes: Any, drawn: nx.DiGraph, layout: Layout, title: str, size: tuple[float, float]) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.set_axis_off()
    axes.set_xlim(0, size[0])
    axes.set_ylim(0, size[1])
    top = size[1] - 0.1 - (_TITLE if title else 0.0)
    centres = {node: ((x + 0.5) * _ACROSS + 0.1, top - (y + 0.5) * _DOWN) for node, (x, y) in layout.place.items()}
    for target in drawn:
        _draw_edges_to(axes, drawn, layout, centres, target)
    for node, data in drawn.nodes(data=True):
        x, y = centres[node]
        fill, edge = _COLOURS[data["kind"]]
        box = FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=fill,
            edgecolor=edge,
            linewidth=1.2,
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y, data["label"], ha="center", va="center", fontsize=10, zorder=3)
    if title:
        axes.text(0.36, size[1] - 0.3, title, fontsize=12, fontweight="bold", va="center", parse_math=False)


def _draw_edges_to(
    axes: Any,
    drawn: nx.DiGraph,
    layout: Layout,
    centres: Mapping[Hashable, tuple[float, float]],
    target: Hashable,
) -> None:
    """The arrows to one node, which arrive one above the other in the order in which they come."""
    from matplotlib.patches import FancyArrowPatch

    half = _WIDTH / 2
    last = {source: [source, *layout.route[source, target]][-1] for source in drawn.pred[target]}
    sources = sorted(last, key=lambda source: -centres[last[source]][1])
    for rank, source in enumerate(sources):
        x, y = centres[target]
        landing = (x - half, y + 0.2 * ((len(sources) - 1) / 2 - rank))
        # Past the boxes of a column in a straight line, then in a curve to the next column.
        stops = [(centres[source][0] + half, centres[source][1])]
        for bend in layout.route[source, target]:
            stops += [(centres[bend][0] + shift, centres[bend][1]) for shift in (-half, half)]
        arrow = FancyArrowPatch(
            path=_curve([*stops, landing]),
            arrowstyle="-|>",
            mutation_scale=8,
            linewidth=1.0,
            color="#666666",
            zorder=1,
        )
        axes.add_patch(arrow)
        mark = _mark(drawn, target, drawn.edges[source, target]["places"])
        above = rank == 0
        if mark:
            axes.text(
                landing[0] - 0.05,
                landing[1] + (0.05 if above else -0.05),
                mark,
                fontsize=7,
                color="#444444",
                ha="right",
                va="bottom" if above else "top",
                zorder=4,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )


def _curve(stops: Sequence[tuple[float, float]]) -> Any:
    """A path through the stops that runs horizontally through each."""
    from matplotlib.path import Path as Curve

    points, codes = [stops[0]], [Curve.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(stops):
        middle = (x0 + x1) / 2
        points += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Curve.CURVE4] * 3
    return Curve(points, codes)


def _mark(drawn: nx.DiGraph, target: Hashable, places: tuple[int, ...]) -> str:
    """What is written at an arrow's end where the order of arguments matters, or one is used twice."""
    op = OPS.get(drawn.nodes[target].get("op", ""))
    if len(places) > 1:
        return "twice"
    return str(places[0] + 1) if op is not None and op.arity > 1 and not op.commutative else ""


def _label(name: str) -> str:
    """What stands in an operation's box: its sign where it has one."""
    sign = OPS[name].infix
    return _SIGNS.get(sign, sign) if sign else name
