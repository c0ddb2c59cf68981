"""Paints laid-out graphs on a sheet with matplotlib, which is imported only when there is something to paint.

The figure is an object of its own: no pyplot, no window system, no state shared with the caller's figures.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx

from evonas.errors import UsageError, shorten
from evonas.language.graph import X
from evonas.report.graph_layout import GraphLayout, layered

# Fill, edge. Light fills under dark text stay readable in print; hues differ for the colour-blind too.
_COLOURS = {
    "input": ("#cfe8ff", "#1f6fb2"),
    "parameter": ("#e6dcf7", "#6b4fa0"),
    "constant": ("#eeeeee", "#777777"),
    "element-wise": ("#ffffff", "#444444"),
    "statistic": ("#ffe3bf", "#c46a00"),
    "affine": ("#e6dcf7", "#6b4fa0"),
    "output": ("#cfe8ff", "#1f6fb2"),
}
_ACROSS, _DOWN = 1.5, 0.75  # distance of columns and of nodes within a column, in inches
_WIDTH, _HEIGHT = 0.98, 0.46  # of a node's box, in inches
_TITLE = 0.45  # room above a drawing, in inches


def draw_sheet(graphs: Mapping[str, nx.DiGraph], path: Path, columns: int) -> Path:
    """Draw graphs by title, `columns` in a row, into an SVG or PNG file.

    Nodes have a `label` and a `kind`, edges a `mark` that is written at their end; node 0 is the input.

    Raises:
        UsageError: for another suffix, without matplotlib, or for a place that cannot be written to.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"a picture is an .svg or a .png file, not {shorten(path.name)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("pictures need matplotlib; install it with: pip install matplotlib") from None

    names = list(graphs)
    panels = [(graph, layered(graph, anchor=X)) for graph in graphs.values()]
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


def _size(layout: GraphLayout, has_title: bool) -> tuple[float, float]:
    across = 1 + max(x for x, _ in layout.place.values())
    down = 1 + max(y for _, y in layout.place.values())
    return across * _ACROSS + 0.2, down * _DOWN + 0.2 + _TITLE * has_title


def _draw(axes: Any, drawn: nx.DiGraph, layout: GraphLayout, title: str, size: tuple[float, float]) -> None:
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
    layout: GraphLayout,
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
        mark = drawn.edges[source, target]["mark"]
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
