"""The lines of the family tree, as one inline SVG beside each row of text.

A layer takes two rows: one for the edge from its parent, beside the mutation, and one for itself. The height of a row
depends on its text, so lines are longer than any row is high and are clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from evonas.report.lineage import Ancestor

_LANE = 18  # distance between lanes in px
_DOT = 17  # distance of a layer's dot from the top of its row, in px
_FAR = 2000


def lanes_svg(tree: Sequence[Ancestor]) -> list[tuple[Markup, Markup]]:
    """For each layer of the tree, the SVG beside the edge from its parent and the SVG beside the layer itself."""
    last_child = {row.parent: number for number, row in enumerate(tree) if row.parent is not None}
    width = lanes_width(tree)
    found = []
    for number, row in enumerate(tree):
        # The lanes of families that continue below this row.
        passing = [tree[p].lane for p, last in last_child.items() if p is not None and p < number < last]
        edge, own = [_down(lane, 0, _FAR) for lane in passing], [_down(lane, 0, _FAR) for lane in passing]
        if row.parent is not None:
            edge.append(_arrival(tree[row.parent].lane, row.lane))
            own.append(_down(row.lane, 0, _DOT))
        if number in last_child:
            own.append(_down(row.lane, _DOT, _FAR))
        kind = "top" if row.rank is not None else "founder" if row.parent is None else "ancestor"
        dot = Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>')
        own.append(dot.format(kind, _x(row.lane), _DOT, 6 if row.rank is not None else 4.5))
        found.append((_svg(width, edge), _svg(width, own)))
    return found


def lanes_width(tree: Sequence[Ancestor]) -> int:
    """The width of the SVGs in px."""
    return _LANE * (1 + max((row.lane for row in tree), default=0))


def _arrival(parent: int, lane: int) -> Markup:
    """The line from the parent's lane to the child's, at the top of the edge's row."""
    if parent == lane:
        return _down(lane, 0, _FAR)
    x0, x1 = _x(parent), _x(lane)
    turn = Markup('<path d="M{0} 0V3Q{0} 11 {1} 11H{2}Q{3} 11 {3} 19V{4}"/>')
    return turn.format(x0, x0 + 8, x1 - 8, x1, _FAR)


def _down(lane: int, top: float, bottom: float) -> Markup:
    return Markup('<path d="M{0} {1}V{2}"/>').format(_x(lane), top, bottom)


def _svg(width: int, parts: Sequence[Markup]) -> Markup:
    inside = Markup("").join(parts)
    return Markup('<svg class="lanes" width="{}" aria-hidden="true">{}</svg>').format(width, inside)


def _x(lane: int) -> float:
    return _LANE * (lane + 0.5)
