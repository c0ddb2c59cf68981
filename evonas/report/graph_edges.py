"""The edges of a laid-out graph as curves, in the coordinates of whatever draws them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

from evonas.report.graph_layout import GraphLayout

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class RoutedEdge:
    """An edge between two boxes.

    Attributes:
        stops: the points that its curve passes through, from the right side of the source's box to the left side of
            the target's.
        mark: the text at its end; empty for none.
        is_top: whether it arrives above all other edges of its target.
    """

    stops: Sequence[Point]
    mark: str
    is_top: bool

    @property
    def end(self) -> Point:
        """Where the edge arrives."""
        return self.stops[-1]


def edges_to(
    target: Hashable,
    graph: nx.DiGraph,
    layout: GraphLayout,
    centres: Mapping[Hashable, Point],
    *,
    half_width: float,
    spacing: float,
) -> list[RoutedEdge]:
    """Routes the edges to one node, which arrive one below the other in the order in which they come.

    Args:
        target: the node.
        graph: as returned by `framed`.
        layout: its layout.
        centres: the drawn position of every node and bend.
        half_width: half the width of a box.
        spacing: the distance between neighbouring ends, positive where y grows downwards.
    """
    last = {source: [source, *layout.route[source, target]][-1] for source in graph.pred[target]}
    x, y = centres[target]
    edges = []
    for rank, source in enumerate(sorted(last, key=lambda source: layout.place[last[source]][1])):
        # Past the boxes of a column in a straight line, then in a curve to the next column.
        stops = [(centres[source][0] + half_width, centres[source][1])]
        for bend in layout.route[source, target]:
            stops += [(centres[bend][0] + shift, centres[bend][1]) for shift in (-half_width, half_width)]
        stops.append((x - half_width, y + spacing * (rank - (len(last) - 1) / 2)))
        edges.append(RoutedEdge(stops, graph.edges[source, target]["mark"], rank == 0))
    return edges


def bezier(stops: Sequence[Point]) -> list[Point]:
    """The points of a cubic Bézier curve that runs horizontally through each stop.

    Returns:
        The first stop, then two control points and the next stop for each segment.
    """
    points = [stops[0]]
    for (x0, y0), (x1, y1) in pairwise(stops):
        middle = (x0 + x1) / 2
        points += [(middle, y0), (middle, y1), (x1, y1)]
    return points
