"""Lays out a directed acyclic graph in columns from left to right.

The method is that of Sugiyama, Tagawa & Toda, "Methods for visual understanding of hierarchical system structures",
1981. An edge that spans several columns gets a bend, a node without a box, in each column between; edges from the same
node share their bends. The order within the columns is the one with the fewest crossings among several passes from
shuffled starts. Heights are then averaged over neighbours, without changing the order or falling below a least
distance.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

import networkx as nx

_STARTS, _PASSES = 12, 8
_NEAR, _FAR = 0.6, 1.0  # least distance within a column if one of the two is a bend, and between boxes

Node = Hashable


@dataclass(frozen=True, slots=True)
class Bend:
    """The point where the edges from `source` pass through a column."""

    source: Node
    column: int


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """A layout, in units of columns and of rows; y grows downwards from 0.

    Attributes:
        place: the position (x, y) of every node and bend.
        route: the bends of each edge from left to right.
    """

    place: Mapping[Node, tuple[int, float]]
    route: Mapping[tuple[Node, Node], tuple[Bend, ...]]


def layered(graph: nx.DiGraph, anchor: Node) -> GraphLayout:
    """Lays out a graph.

    Args:
        graph: a directed acyclic graph.
        anchor: the node whose descendants are placed as far left as possible; all other nodes are placed as far right
            as possible, next to where they are used.
    """
    column = _columns(graph, anchor)
    edges = nx.DiGraph()
    edges.add_nodes_from(graph)
    route: dict[tuple[Node, Node], tuple[Bend, ...]] = {}
    for source, target in graph.edges:
        bends = tuple(Bend(source, c) for c in range(column[source] + 1, column[target]))
        route[source, target] = bends
        nx.add_path(edges, [source, *bends, target])
        column.update({bend: bend.column for bend in bends})
    columns: list[list[Node]] = [[] for _ in range(1 + max(column.values()))]
    for node in edges:
        columns[column[node]].append(node)
    height = _heights(edges, _ordered(edges, columns))
    top = min(height.values())
    return GraphLayout({node: (column[node], height[node] - top) for node in edges}, route)


def _columns(graph: nx.DiGraph, anchor: Node) -> dict[Node, int]:
    order = list(nx.topological_sort(graph))
    column: dict[Node, int] = {}
    for node in order:
        column[node] = max((column[p] + 1 for p in graph.predecessors(node)), default=0)
    pinned = {anchor, *nx.descendants(graph, anchor)} if anchor in graph else set()
    for node in reversed(order):
        if node not in pinned:
            column[node] = min((column[s] - 1 for s in graph.successors(node)), default=column[node])
    return column


def _ordered(edges: nx.DiGraph, columns: list[list[Node]]) -> list[list[Node]]:
    """The columns, each in the order that gives the fewest crossings found."""
    source = random.Random(0)
    best, fewest = columns, _crossings(edges, columns)
    for start in range(_STARTS):
        current = [list(nodes) for nodes in columns]
        if start:
            for nodes in current:
                source.shuffle(nodes)
        for number in range(_PASSES):
            forward = number % 2 == 0
            neighbours = edges.pred if forward else edges.succ
            towards = range(1, len(current)) if forward else range(len(current) - 2, -1, -1)
            for c in towards:
                beside = {node: i for i, node in enumerate(current[c - 1 if forward else c + 1])}
                rank = {node: float(i) for i, node in enumerate(current[c])}
                for node in current[c]:
                    ranks = [beside[n] for n in neighbours[node]]
                    if ranks:
                        rank[node] = fmean(ranks)
                current[c].sort(key=rank.__getitem__)
            crossings = _crossings(edges, current)
            if crossings < fewest:
                best, fewest = [list(nodes) for nodes in current], crossings
    return best


def _crossings(edges: nx.DiGraph, columns: list[list[Node]]) -> int:
    total = 0
    for left, right in pairwise(columns):
        rank = {node: i for i, node in enumerate(right)}
        links = [(i, rank[target]) for i, node in enumerate(left) for target in edges.succ[node]]
        total += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(links, 2))
    return total


def _heights(edges: nx.DiGraph, columns: list[list[Node]]) -> dict[Node, float]:
    offsets = {}
    for nodes in columns:
        offset = 0.0
        for i, node in enumerate(nodes):
            if i:
                offset += _NEAR if isinstance(node, Bend) or isinstance(nodes[i - 1], Bend) else _FAR
            offsets[node] = offset
    height = {node: offsets[node] - offsets[nodes[-1]] / 2 for nodes in columns for node in nodes}
    for number in range(40):
        for nodes in columns if number % 2 else reversed(columns):
            desired = [_desired_height(edges, height, node) - offsets[node] for node in nodes]
            for node, level in zip(nodes, _nondecreasing(desired), strict=True):
                height[node] = level + offsets[node]
    return height


def _desired_height(edges: nx.DiGraph, height: Mapping[Node, float], node: Node) -> float:
    """The mean height of the neighbours, weighted so that lines between bends become straight."""
    weighted = [
        (4.0 if isinstance(node, Bend) and isinstance(other, Bend) else 1.0, height[other])
        for other in (*edges.pred[node], *edges.succ[node])
    ]
    total = sum(weight for weight, _ in weighted)
    return sum(weight * at for weight, at in weighted) / total if total else height[node]


def _nondecreasing(values: list[float]) -> list[float]:
    """The non-decreasing sequence closest to `values` in least squares, by pooling adjacent violators."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([value])
        while len(pools) > 1 and fmean(pools[-2]) > fmean(pools[-1]):
            pools[-2:] = [pools[-2] + pools[-1]]
    return [fmean(pool) for pool in pools for _ in pool]
