"""How a search went over compute: the hypervolume of what it found, and its best layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from evonas.settings.candidate import Evaluation, Status


@dataclass(frozen=True, slots=True)
class ProgressStep:
    """The state of a search after an evaluation that improved something, or after the last one.

    Attributes:
        judged: the number of evaluations so far, including this one.
        core_seconds: the core-seconds that workers had spent on them.
        hypervolume: the hypervolume of the scores so far; see `hypervolume`.
        best: the highest mean score so far.
        anchors: the highest score so far on each anchor, in the run's order.
    """

    judged: int
    core_seconds: float
    hypervolume: float
    best: float
    anchors: tuple[float, ...]


def progress(evaluations: Iterable[Evaluation], anchors: Sequence[str]) -> list[ProgressStep]:
    """The steps of a search, from its start, without a scored layer, to its last evaluation.

    Args:
        evaluations: the run's evaluations in order of index. Compute is summed in that order, which does not depend
            on the number of workers.
        anchors: the anchors whose scores count.
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
            continue  # dominated: no best score, mean or hypervolume changes
        front = np.vstack([front[~(front <= scores).all(axis=1)], scores])
        best, mean = np.maximum(best, scores), max(mean, float(scores.mean()))
        volume = hypervolume(front)
        steps.append(ProgressStep(judged, spent, volume, mean, tuple(map(float, best))))
    if steps[-1].judged < judged:
        last = steps[-1]
        steps.append(ProgressStep(judged, spent, last.hypervolume, last.best, last.anchors))
    return steps


def hypervolume(scores: np.ndarray) -> float:
    """The share of the unit cube that is dominated by at least one layer (Zitzler & Thiele 1998).

    The reference point is 0. Every layer on the Pareto front adds to the hypervolume, and a layer that classifies
    every image correctly on all anchors has a hypervolume of 1.

    Args:
        scores: accuracies from 0 to 1, of shape (layers, anchors).
    """
    from pymoo.indicators.hv import HV  # importing pymoo takes most of a second

    return float(HV(ref_point=np.zeros(scores.shape[1]))(-scores)) if len(scores) else 0.0


def at_compute(steps: Sequence[ProgressStep], core_seconds: float) -> ProgressStep:
    """The last step that a search had reached when its workers had spent `core_seconds`."""
    return [step for step in steps if step.core_seconds <= core_seconds or step is steps[0]][-1]


def finite(value: float) -> float | None:
    """`value`, or None if it is infinite or NaN, which neither JSON nor a chart can show."""
    return value if isfinite(value) else None
