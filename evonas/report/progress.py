"""How a search went over compute: the hypervolume of what it found, and its best layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from evonas.settings.candidate import Evaluation, Status


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """Where a search stood after an evaluation that improved something, or after the last one.

    Attributes:
        judged: evaluations so far, this one included.
        core_seconds: what workers had spent on them.
        hypervolume: of the scores found so far, see `hypervolume`.
        best: the highest mean score.
        anchors: the highest score on each anchor, in the run's order.
    """

    judged: int
    core_seconds: float
    hypervolume: float
    best: float
    anchors: tuple[float, ...]


def progress(evaluations: Iterable[Evaluation], anchors: Sequence[str]) -> list[ProgressStep]:
    """The steps of a search, from one without a scored layer to its last evaluation.

    Args:
        evaluations: in order of index. Compute is added up in that order, which depends on the search alone and
            not on the number of workers.
        anchors: whose scores are looked at.
    """
    front = np.empty((0, len(anchors)))
    best = np.zeros(len(anchors))
    judged, spent, volume, mean = 0, 0.0, 0.0, 0.0
    steps = [ProgressStep(0, 0.0, 0.0, 0.0, tuple(best))]
    for evaluation in evaluations:
        judged, spent = judged + 1, spent + evaluation.core_seconds
        if evaluation.status is not Status.SCORED or not all(anchor in evaluation.scores for anchor in anchors):
            continue
        scores = np.array([evaluation.scores[anchor] for anchor in anchors])
        if not np.isfinite(scores).all() or (front >= scores).all(axis=1).any():
            continue  # dominated, so that neither a best score nor the volume changes; the mean neither
        front = np.vstack([front[~(front <= scores).all(axis=1)], scores])
        best, mean = np.maximum(best, scores), max(mean, float(scores.mean()))
        volume = hypervolume(front)
        steps.append(ProgressStep(judged, spent, volume, mean, tuple(map(float, best))))
    if steps[-1].judged < judged:
        last = steps[-1]
        steps.append(ProgressStep(judged, spent, last.hypervolume, last.best, last.anchors))
    return steps


def hypervolume(scores: np.ndarray) -> float:
    """The share of the unit cube that lies below at least one of the scores (layers × anchors, each in 0..1).

    Zitzler & Thiele 1998, with 0 as the reference point: it grows with each layer that no other beats on every anchor,
    and is 1 for one that is right about every image on all of them.
    """
    from pymoo.indicators.hv import HV  # pymoo takes most of a second to import

    return float(HV(ref_point=np.zeros(scores.shape[1]))(-scores)) if len(scores) else 0.0


def at_compute(steps: Sequence[ProgressStep], core_seconds: float) -> ProgressStep:
    """Where a search stood when its workers had spent this long."""
    return [step for step in steps if step.core_seconds <= core_seconds or step is steps[0]][-1]


def finite(value: float) -> float | None:
    """`value`, or None where it is no number that JSON or a chart could show."""
    return value if isfinite(value) else None
