"""A layer's graph as an inline SVG, whose colours follow the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from evonas.language.graph import Graph, X
from evonas.report.graph_drawing import framed
from evonas.report.graph_edges import Point, RoutedEdge, bezier, edges_to
from evonas.report.graph_layout import layered

_ACROSS, _DOWN = 112.0, 54.0  # distance between columns and between rows, in px
_WIDTH, _HEIGHT = 86.0, 34.0  # size of a node's box, in px
_PLAIN = {r"$\gamma\,y + \beta$": "γ · y + β"}
"""Plain text for the mathtext label of matplotlib."""
_SHORT = {"twice": "2×"}  # boxes are closer together here than in a picture


def graph_svg(graph: Graph) -> Markup:
    """Draws a graph from left to right: the input, one column per depth, the affine and the output."""
    drawn = framed(graph)
    layout = layered(drawn, anchor=X)
    centres = {node: ((x + 0.5) * _ACROSS, (y + 0.5) * _DOWN) for node, (x, y) in layout.place.items()}
    width = max(x for x, _ in centres.values()) + _ACROSS / 2
    height = max(y for _, y in centres.values()) + _DOWN / 2
    parts = [
        Markup('<svg class="graph" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">').format(
            f"{width:.0f}", f"{height:.0f}", f"graph of {graph.written()}"
        )
    ]
    for target in drawn:
        for edge in edges_to(target, drawn, layout, centres, half_width=_WIDTH / 2, spacing=14):
            parts += _edge_svg(edge)
    for node, data in drawn.nodes(data=True):
        x, y = centres[node]
        label = _PLAIN.get(data["label"], data["label"])
        box = Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="8"/>').format(
            *_px(x - _WIDTH / 2, y - _HEIGHT / 2, _WIDTH, _HEIGHT)
        )
        text = Markup('<text x="{}" y="{}">{}</text>').format(*_px(x, y), label)
        parts.append(Markup('<g class="node {}">{}{}</g>').format(data["kind"], box, text))
    return Markup("").join([*parts, Markup("</svg>")])


def _edge_svg(edge: RoutedEdge) -> list[Markup]:
    """An arrow: its curve, its tip, and its mark where it has one."""
    x, y = edge.end[0] - 1, edge.end[1]
    tip = " ".join(f"{px},{py}" for px, py in ((x, y), (x - 7, y - 3.5), (x - 7, y + 3.5)))
    parts = [
        Markup('<path class="edge" d="{}"/>').format(_curve([*edge.stops[:-1], (x - 6, y)])),
        Markup('<polygon class="tip" points="{}"/>').format(tip),
    ]
    if edge.mark:
        at = _px(x - 9, y - 5 if edge.is_top else y + 13)
        parts.append(Markup('<text class="mark" x="{}" y="{}">{}</text>').format(*at, _SHORT.get(edge.mark, edge.mark)))
    return parts


def _curve(stops: Sequence[Point]) -> str:
    """The `d` of an SVG path through the stops."""
    start, *controls = ("{} {}".format(*_px(*point)) for point in bezier(stops))
    return f"M{start}" + "".join(f"C{' '.join(controls[i : i + 3])}" for i in range(0, len(controls), 3))


def _px(*numbers: float) -> list[str]:
    return [f"{number:.1f}".removesuffix(".0") for number in numbers]
