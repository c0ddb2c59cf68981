"""What mutation made of a parent: the sub-expressions that differ, before and after."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.language.graph import FIRST, Graph, trimmed

_LONGEST = 60  # characters of a sub-expression
_MOST = 3


@dataclass(frozen=True, slots=True)
class Change:
    """A node that was redrawn, as the text of what it computes."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


def changes(parent: Graph, child: Graph) -> list[Change]:
    """What differs between two graphs as they were drawn, dead nodes included.

    Mutation redraws nodes in their places, so that what stands elsewhere is the same. A node that the child does not
    use is told of only where nothing else is left, and graphs of different length differ as a whole. Empty where they
    are one function.
    """
    if len(parent.nodes) == len(child.nodes) and parent.output == child.output:
        redrawn = [
            FIRST + place for place, (old, new) in enumerate(zip(parent.nodes, child.nodes, strict=True)) if old != new
        ]
        used = [number for number in redrawn if number in child.live] or [n for n in redrawn if n in parent.live]
        found = [Change(_text(parent, number), _text(child, number)) for number in used]
        found = [change for change in dict.fromkeys(found) if change.before != change.after]
        if found:
            return found[:_MOST]
    whole = Change(_text(parent, parent.output), _text(child, child.output))
    return [whole] if whole.before != whole.after else []


def _text(graph: Graph, number: int) -> str:
    return trimmed(graph.nodes, number).canonical.written(_LONGEST)
