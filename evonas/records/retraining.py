"""The record of one training of a layer beside its first evaluation: its settings and its result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isnan


class RetrainingStage(Enum):
    """The purpose of a training after the search."""

    HELD_OUT = "held-out"
    """Scored on a held-out part of the training split."""
    TEST = "test"
    """Trained on the whole training split, scored on the test split."""
    TRANSFER = "transfer"
    """Like `TEST`, on an anchor that the search did not use."""
    RUNG = "rung"
    """During the search, on a rung of longer training; scored on the validation split (`evonas.judging.rungs`)."""


RERUNS = (RetrainingStage.HELD_OUT, RetrainingStage.TEST, RetrainingStage.TRANSFER)
"""The stages of trainings that follow a search."""
Layer = int | str
"""A candidate's index, or the name of a published layer."""
RetrainingKey = tuple[Layer, RetrainingStage, str, int, int, float]
"""What identifies a training within a run: layer, stage, anchor, seed, steps, share held out."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """A training of one layer on one anchor with one seed, as recorded.

    Attributes:
        layer: the candidate's index, or the name of a published layer.
        stage: the purpose of the training.
        anchor: the network.
        seed: the seed of initial weights and batches.
        steps: the number of training steps.
        held_out: the share of the training split that was held out.
        score: accuracy in 0..1; 0 if the training diverged, NaN if it failed.
        seconds: core-seconds of the training.
        reason: why the training failed, or that it diverged; otherwise empty.
    """

    layer: Layer
    stage: RetrainingStage
    anchor: str
    seed: int
    steps: int
    held_out: float
    score: float
    seconds: float = 0.0
    reason: str = ""

    @property
    def key(self) -> RetrainingKey:
        """What identifies the training within its run."""
        return self.layer, self.stage, self.anchor, self.seed, self.steps, self.held_out

    @property
    def failed(self) -> bool:
        """Whether the training failed, so that there is no score."""
        return isnan(self.score)
