"""The parents of a search and its rejections: numbers that explain why a search does well or badly."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from evonas.judging.start_twins import Twins
from evonas.settings.candidate import Candidate, Evaluation, OriginKind, Status

NEUTRAL = 0.02
"""A mutant whose mean accuracy is this close to its parent's is neutral."""
ALIKE = 0.02
"""Relative distance, at the start of training, below which two functions are twins; see `Twins`."""


def inheritance(candidates: Sequence[Candidate], evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Compare scored mutants with their parents, and count scored candidates that are twins of earlier ones.

    Args:
        candidates: the candidates of one run.
        evaluations: their evaluations, in order of index.
    """
    drawn = {candidate.index: candidate for candidate in candidates}
    scores: dict[int, float] = {}
    twins, repeated = Twins(ALIKE), 0
    parents, steps = [], []
    for evaluation in evaluations:
        if evaluation.status is not Status.SCORED:
            continue
        candidate = drawn[evaluation.index]
        scores[evaluation.index] = evaluation.mean
        repeated += twins.resembles(candidate.graph)
        twins.add(candidate.graph)
        parent = candidate.origin.parent
        if candidate.origin.kind is OriginKind.MUTATION and parent in scores:
            parents.append(scores[parent])
            steps.append(evaluation.mean - scores[parent])
    return {
        "scored": len(scores),
        "start_as_an_earlier_one": repeated,
        "mutants": len(steps),
        "neutral": sum(abs(step) <= NEUTRAL for step in steps),
        "better": sum(step > NEUTRAL for step in steps),
        "median_parent": median(parents) if parents else None,
    }


def turned_away(candidates: Sequence[Candidate], evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Count proposals discarded by cheap filters, and what the later filters judged, rejected and cost."""
    fell: Counter[str] = Counter()
    for candidate in candidates:
        fell.update(candidate.discarded)
    filters: dict[str, dict[str, float]] = defaultdict(lambda: {"judged": 0, "rejected": 0, "core_seconds": 0.0})
    for evaluation in evaluations:
        for outcome in evaluation.filters:
            row = filters[outcome.name]
            row["judged"] += 1
            row["rejected"] += not outcome.accepted
            row["core_seconds"] += outcome.seconds
    return {"proposals": fell.total() + len(candidates), "fell": dict(fell), "filters": dict(filters)}
