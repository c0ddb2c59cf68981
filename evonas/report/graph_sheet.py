"""Draws laid-out graphs on a sheet with matplotlib, which is imported only when there is something to draw.

The figure does not go through pyplot: it needs no window system and shares no state with the caller's figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import networkx as nx

from evonas.errors import UsageError, shorten
from evonas.language.graph import X
from evonas.report.graph_edges import RoutedEdge, bezier, edges_to
from evonas.report.graph_layout import GraphLayout, layered

# Fill and outline. Dark text on light fills stays readable in print, and the colour-blind can tell the hues apart.
_COLOURS = {
    "input": ("#cfe8ff", "#1f6fb2"),
    "parameter": ("#e6dcf7", "#6b4fa0"),
    "constant": ("#eeeeee", "#777777"),
    "element-wise": ("#ffffff", "#444444"),
    "statistic": ("#ffe3bf", "#c46a00"),
    "affine": ("#e6dcf7", "#6b4fa0"),
    "output": ("#cfe8ff", "#1f6fb2"),
}
_ACROSS, _DOWN = 1.5, 0.75  # distance between columns, and between nodes within a column, in inches
_WIDTH, _HEIGHT = 0.98, 0.46  # size of a node's box, in inches
_TITLE = 0.45  # height of the title above a drawing, in inches


def draw_sheet(graphs: Mapping[str, nx.DiGraph], path: Path, columns: int) -> Path:
    """Draws graphs on one sheet and saves it as an SVG or PNG file.

    Args:
        graphs: the graphs by title, as returned by `framed`.
        path: the file to write; an existing file is replaced.
        columns: the number of graphs in a row.

    Returns:
        The path.

    Raises:
        UsageError: if the suffix is neither .svg nor .png, matplotlib is missing, or the file cannot be written.
    """
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(f"a picture must be an .svg or a .png file, not {shorten(path.name)}")
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
            # A panel is measured in inches and aligned with the top of its row.
            bottom += heights[row_number] - sizes[i][1]
            extent = (left / sum(widths), bottom / sum(heights))
            share = (sizes[i][0] / sum(widths), sizes[i][1] / sum(heights))
            axes = figure.add_axes((*extent, *share))
            _draw(axes, *panels[i], names[i], sizes[i])
    try:
        # Text is saved as text, and the same graph gives the same file.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evonas"}):
            metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
            figure.savefig(path, dpi=150, metadata=metadata, facecolor="white")
    except (OSError, ValueError) as error:  # ValueError: the name contains a null character
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
        for edge in edges_to(target, drawn, layout, centres, half_width=_WIDTH / 2, spacing=-0.2):
            _draw_edge(axes, edge)
    for node, data in drawn.nodes(data=True):
        x, y = centres[node]
        fill, outline = _COLOURS[data["kind"]]
        box = FancyBboxPatch(
            (x - _WIDTH / 2, y - _HEIGHT / 2),
            _WIDTH,
            _HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=fill,
            edgecolor=outline,
            linewidth=1.2,
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y, data["label"], ha="center", va="center", fontsize=10, zorder=3)
    if title:
        axes.text(0.36, size[1] - 0.3, title, fontsize=12, fontweight="bold", va="center", parse_math=False)


def _draw_edge(axes: Any, edge: RoutedEdge) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    points = bezier(edge.stops)
    arrow = FancyArrowPatch(
        path=Curve(points, [Curve.MOVETO] + [Curve.CURVE4] * (len(points) - 1)),
        arrowstyle="-|>",
        mutation_scale=8,
        linewidth=1.0,
        color="#666666",
        zorder=1,
    )
    axes.add_patch(arrow)
    if edge.mark:
        axes.text(
            edge.end[0] - 0.05,
            edge.end[1] + (0.05 if edge.is_top else -0.05),
            edge.mark,
            fontsize=7,
            color="#444444",
            ha="right",
            va="bottom" if edge.is_top else "top",
            zorder=4,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
        )
