"""What the longer trainings of a search did: who earned them, and how scores moved from one rung to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean

import numpy as np

from evonas.records.evidence import rung_scores
from evonas.records.retraining import Retraining
from evonas.settings.candidate import Evaluation
from evonas.settings.run_config import RunConfig

_FEWEST = 3  # candidates of which an order says something


@dataclass(frozen=True, slots=True)
class RungSummary:
    """One rung; rung 0 is the first evaluation.

    Attributes:
        steps: the steps of its trainings.
        about: in what else they differ from the first: other networks, or another learning rate; empty if in nothing.
        reached: the number of candidates that were trained on it.
        failed: how many of them have no score, because a training failed.
        before: the mean score of the others on the rung below; None on rung 0 or without any.
        here: their mean score on this rung; None without any.
        agreement: Spearman's rank correlation of the two; None on rung 0, or of fewer than three candidates.
    """

    steps: int
    about: str
    reached: int
    failed: int
    before: float | None
    here: float | None
    agreement: float | None


@dataclass(frozen=True, slots=True)
class LongerTrainings:
    """The rungs of a run.

    Attributes:
        rungs: the rungs, from the first evaluation on; that alone if the run has no longer trainings.
        paths: the mean scores of each candidate that was trained longer, by index, one for each rung it reached.
    """

    rungs: Sequence[RungSummary]
    paths: Mapping[int, Sequence[float]]


def longer_trainings(config: RunConfig, scored: Sequence[Evaluation], records: Iterable[Retraining]) -> LongerTrainings:
    """Gathers what is recorded of a run's rungs.

    Args:
        config: the run's configuration.
        scored: its scored evaluations.
        records: its trainings on rungs.
    """
    known: list[dict[int, float]] = [{one.index: one.mean for one in scored if isfinite(one.mean)}]
    found = rung_scores(config, records)
    rungs = [RungSummary(config.protocol.steps, "", len(scored), 0, None, _mean(known[0].values()), None)]
    for number in range(1, len(config.rungs) + 1):
        of_rung = {promotion.index: scores for promotion, scores in found.items() if promotion.rung == number}
        here = {index: fmean(scores) for index, scores in of_rung.items() if scores is not None}
        pairs = [(known[-1][index], score) for index, score in here.items() if index in known[-1]]
        known.append(here)
        failed = sum(scores is None for scores in of_rung.values())
        before, after = _mean(one for one, _ in pairs), _mean(other for _, other in pairs)
        steps = config.on_rung(number).steps
        rungs.append(RungSummary(steps, _about(config, number), len(of_rung), failed, before, after, _agreement(pairs)))
    return LongerTrainings(rungs, _paths(known))


def _paths(known: Sequence[Mapping[int, float]]) -> dict[int, list[float]]:
    paths: dict[int, list[float]] = {}
    for index in known[1] if len(known) > 1 else ():
        path: list[float] = []
        for of_rung in known:
            if index not in of_rung:
                break
            path.append(of_rung[index])
        if len(path) > 1:
            paths[index] = path
    return paths


def _about(config: RunConfig, number: int) -> str:
    rung, usual = config.on_rung(number), config.protocol
    networks = "" if rung.anchors == usual.anchors else f"on {', '.join(rung.anchors)}"
    return ", ".join(filter(None, (networks, "" if rung.lr == usual.lr else f"learning rate {rung.lr:g}")))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None


def _agreement(pairs: Sequence[tuple[float, float]]) -> float | None:
    if len(pairs) < _FEWEST:
        return None
    one, other = (_ranks(values) for values in zip(*pairs, strict=True))
    if not one.std() or not other.std():
        return None
    return float(np.corrcoef(one, other)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    """The place of each value in order; equal values share the mean of their places."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]
