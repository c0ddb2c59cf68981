"""What a reranking will cost, from the seconds that a run's trainings took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from evonas.records.retraining import RetrainingKey
from evonas.records.run_info import RunInfo
from evonas.records.store import Store

_SAMPLE = 50  # candidates whose seconds are read: a large run is not read whole


@dataclass(frozen=True, slots=True)
class RerankCost:
    """What is left to train.

    Attributes:
        trainings: the largest possible number of trainings.
        core_seconds: what they take; None if the run has recorded no seconds.
    """

    trainings: int
    core_seconds: float | None

    def __str__(self) -> str:
        number = f"at most {self.trainings:,} training{'' if self.trainings == 1 else 's'}"
        if self.core_seconds is None:
            return number
        minutes = self.core_seconds / 60
        return f"{number}, about {minutes:{',.0f' if minutes >= 10 else '.1f'}} core-minutes"


def cost_of(store: Store, run: RunInfo, keys: Sequence[RetrainingKey]) -> RerankCost:
    """What these trainings take if a step takes as long as it did so far.

    A network that the run never trained is taken for as slow as the others are on average.
    """
    per_step = _seconds_per_step(store, run)
    if not per_step:
        return RerankCost(len(keys), None)
    usual = fmean(per_step.values())
    return RerankCost(len(keys), sum(per_step.get(anchor, usual) * steps for _, _, anchor, _, steps, _ in keys))


def _seconds_per_step(store: Store, run: RunInfo) -> dict[str, float]:
    """The core-seconds of a training step by network, from all that is recorded of the run's trainings."""
    seconds: defaultdict[str, float] = defaultdict(float)
    steps: defaultdict[str, int] = defaultdict(int)
    protocol = run.config.protocol
    for _, evaluation in store.best(run.id, _SAMPLE):
        for anchor in protocol.anchors:
            seconds[anchor] += evaluation.seconds.get(anchor, 0.0)
            steps[anchor] += protocol.steps
    for one in (*store.rung_trainings(run.id), *store.retrainings(run.id)):
        if not one.reason:  # neither failed nor diverged, which ends a training early
            seconds[one.anchor] += one.seconds
            steps[one.anchor] += one.steps
    return {anchor: seconds[anchor] / steps[anchor] for anchor in steps if seconds[anchor] > 0}
