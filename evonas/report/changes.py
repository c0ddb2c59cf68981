"""The sub-expressions that a mutation changed, before and after."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.language.graph import FIRST, Graph, trimmed

_MAX_LENGTH = 60  # characters of a sub-expression
_MAX_CHANGES = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A node that a mutation redrew.

    Attributes:
        before, after: the expression that the node computed before and after the mutation.
    """

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


def changes(parent: Graph, child: Graph) -> list[Change]:
    """What differs between a parent and its mutated child.

    A mutation redraws some nodes in place, so the nodes are compared one by one. Nodes that the child does not use are
    listed only if no used node differs. Graphs with different numbers of nodes or different outputs differ as a whole.

    Args:
        parent, child: the graphs as they were drawn, including unused nodes.

    Returns:
        At most three changes; none if the graphs are written alike.
    """
    if len(parent.nodes) == len(child.nodes) and parent.output == child.output:
        redrawn = [
            FIRST + place for place, (old, new) in enumerate(zip(parent.nodes, child.nodes, strict=True)) if old != new
        ]
        used = [number for number in redrawn if number in child.live] or [n for n in redrawn if n in parent.live]
        found = [Change(_text(parent, number), _text(child, number)) for number in used]
        found = [change for change in dict.fromkeys(found) if change.before != change.after]
        if found:
            return found[:_MAX_CHANGES]
    whole = Change(_text(parent, parent.output), _text(child, child.output))
    return [whole] if whole.before != whole.after else []


def _text(graph: Graph, number: int) -> str:
    return trimmed(graph.nodes, number).canonical.written(_MAX_LENGTH)
