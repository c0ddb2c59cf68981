"""A layer's graph as an inline SVG, whose colours follow the page's style sheet."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise

import networkx as nx
from markupsafe import Markup

from evonas.language.graph import Graph, X
from evonas.report.graph_drawing import framed
from evonas.report.graph_layout import GraphLayout, layered

_ACROSS, _DOWN = 112.0, 54.0  # distance of columns and rows in px
_WIDTH, _HEIGHT = 86.0, 34.0  # of a box
_PLAIN = {"$v_0$": "v₀", "$v_1$": "v₁", r"$\gamma\,y + \beta$": "γ · y + β"}
"""Mathtext of pictures as plain text."""
_SHORT = {"twice": "2×"}  # between boxes that stand as close as here

Point = tuple[float, float]


def graph_svg(graph: Graph) -> Markup:
    """The graph from left to right: input, one column per depth, affine, output."""
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
        parts += _edges_to(drawn, layout, centres, target)
    for node, data in drawn.nodes(data=True):
        x, y = centres[node]
        label = _PLAIN.get(data["label"], data["label"])
        box = Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="8"/>').format(
            *_px(x - _WIDTH / 2, y - _HEIGHT / 2, _WIDTH, _HEIGHT)
        )
        text = Markup('<text x="{}" y="{}">{}</text>').format(*_px(x, y), label)
        parts.append(Markup('<g class="node {}">{}{}</g>').format(data["kind"], box, text))
    return Markup("").join([*parts, Markup("</svg>")])


def _edges_to(
    drawn: nx.DiGraph, layout: GraphLayout, centres: Mapping[Hashable, Point], target: Hashable
) -> list[Markup]:
    """The arrows to one node, which arrive one above the other in the order in which they come."""
    last = {source: [source, *layout.route[source, target]][-1] for source in drawn.pred[target]}
    found = []
    for rank, source in enumerate(sorted(last, key=lambda source: centres[last[source]][1])):
        x, y = centres[target]
        landing = (x - _WIDTH / 2 - 1, y + 14 * (rank - (len(last) - 1) / 2))
        stops: list[Point] = [(centres[source][0] + _WIDTH / 2, centres[source][1])]
        for bend in layout.route[source, target]:
            stops += [(centres[bend][0] + shift, centres[bend][1]) for shift in (-_WIDTH / 2, _WIDTH / 2)]
        found.append(Markup('<path class="edge" d="{}"/>').format(_curve([*stops, (landing[0] - 6, landing[1])])))
        tip = " ".join(f"{px},{py}" for px, py in ((landing[0], landing[1]), *_barbs(landing)))
        found.append(Markup('<polygon class="tip" points="{}"/>').format(tip))
        mark = drawn.edges[source, target]["mark"]
        if mark:
            at = _px(landing[0] - 9, landing[1] - 5 if rank == 0 else landing[1] + 13)
            found.append(Markup('<text class="mark" x="{}" y="{}">{}</text>').format(*at, _SHORT.get(mark, mark)))
    return found


def _barbs(landing: Point) -> list[Point]:
    return [(landing[0] - 7, landing[1] - 3.5), (landing[0] - 7, landing[1] + 3.5)]


def _curve(stops: Sequence[Point]) -> str:
    """A path through the stops that runs horizontally through each."""
    d = "M{} {}".format(*_px(*stops[0]))
    for (x0, y0), (x1, y1) in pairwise(stops):
        middle = (x0 + x1) / 2
        d += "C{} {} {} {} {} {}".format(*_px(middle, y0, middle, y1, x1, y1))
    return d


def _px(*numbers: float) -> list[str]:
    return [f"{number:.1f}".removesuffix(".0") for number in numbers]
