"""One training of a layer after the search: what determined it, and what came of it. A plain value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import isnan


class RetrainingStage(Enum):
    """What a training after the search is for."""

    HELD_OUT = "held-out"
    """Scored on a part of the training split that it was not trained on."""
    TEST = "test"
    """Trained on the whole training split, scored on the test split."""
    TRANSFER = "transfer"
    """The same on an anchor that the search never saw."""


Layer = int | str
"""A candidate's index, or the name of a published layer."""
RetrainingKey = tuple[Layer, RetrainingStage, str, int, int, float]
"""What determines a training within a run: layer, stage, anchor, seed, steps, share held out."""


@dataclass(frozen=True, slots=True)
class Retraining:
    """A training of one layer on one anchor with one seed, as recorded.

    Attributes:
        layer: the candidate's index, or the name of a published layer.
        stage: what the training is for.
        anchor: the network.
        seed: of initial weights and batches.
        steps: length of the training.
        held_out: the share of the training split that was held out.
        score: accuracy in 0..1; 0 where the training diverged, NaN where it failed.
        seconds: core-seconds of the training.
        reason: why it failed, or that it diverged; else empty.
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
        """What determines the training within its run."""
        return self.layer, self.stage, self.anchor, self.seed, self.steps, self.held_out

    @property
    def failed(self) -> bool:
        """Whether there is no score."""
        return isnan(self.score)
