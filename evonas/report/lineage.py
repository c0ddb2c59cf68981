"""The family tree of the best layers: their ancestors, and the mutations between them.

Rows are in depth-first order, oldest first. A line runs straight down a lane from each layer to the child with the most
descendants; the other children come before it and branch off one lane to the right. A family that branches off is at
most half as large as the one it leaves, so n layers need at most 1 + log2 n lanes (the heavy paths of Sleator & Tarjan,
"A data structure for dynamic trees", 1983).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.report.changes import Change, changes
from evonas.settings.candidate import Candidate, Evaluation


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A row of the tree.

    Attributes:
        index: the candidate's index.
        expression: its canonical form as text.
        mean: its mean score; None if it has no score.
        kind: how it was made: "random", "seed" or "mutation".
        rank: its place among the best layers, from 1; None if it is only an ancestor of one.
        lane: the column of its line, from 0.
        parent: the row of its parent; None for a layer without one.
        changes: what the mutation changed in its parent.
        recorded: the mutations as the run recorded them.
    """

    index: int
    expression: str
    mean: float | None
    kind: str
    rank: int | None
    lane: int
    parent: int | None
    changes: Sequence[Change]
    recorded: Sequence[str]


def lineage(
    best: Sequence[int], candidates: Mapping[int, Candidate], evaluations: Mapping[int, Evaluation]
) -> list[Ancestor]:
    """The family tree of the best candidates and all their ancestors.

    Args:
        best: the indices of the candidates, best first.
        candidates, evaluations: the run's candidates and evaluations by index.
    """
    family = _family(best, candidates)
    children: dict[int | None, list[int]] = {}
    for index in sorted(family):
        children.setdefault(family[index], []).append(index)
    size = dict.fromkeys(family, 1)
    for index in sorted(family, reverse=True):  # a parent is older than its children
        parent = family[index]
        if parent is not None:
            size[parent] += size[index]
    rows: list[Ancestor] = []
    row_of: dict[int, int] = {}
    # Founders of larger families first; among children the largest family last, straight below its parent.
    pending = [(index, 0) for index in sorted(children.get(None, ()), key=lambda i: (size[i], -i))]
    while pending:
        index, lane = pending.pop()
        candidate, parent = candidates[index], family[index]
        evaluation = evaluations.get(index)
        row_of[index] = len(rows)
        rows.append(
            Ancestor(
                index,
                candidate.graph.canonical.written(),
                evaluation.mean if evaluation is not None and evaluation.scores else None,
                candidate.origin.kind.value,
                best.index(index) + 1 if index in best else None,
                lane,
                None if parent is None else row_of[parent],
                [] if parent is None else changes(candidates[parent].graph, candidate.graph),
                candidate.origin.mutations,
            )
        )
        young = sorted(children.get(index, ()), key=lambda i: (size[i], -i))
        if young:
            pending.append((young[-1], lane))
            pending += [(i, lane + 1) for i in reversed(young[:-1])]
    return rows


def _family(best: Sequence[int], candidates: Mapping[int, Candidate]) -> dict[int, int | None]:
    """The parent of each candidate in `best` and of each of their ancestors."""
    family: dict[int, int | None] = {}
    for first in best:
        index: int | None = first
        while index is not None and index not in family:
            parent = candidates[index].origin.parent
            # A parent is always older; without this check a damaged database could hold a cycle.
            family[index] = parent if parent is not None and parent in candidates and parent < index else None
            index = family[index]
    return family
