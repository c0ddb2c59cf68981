"""Hurdles: a candidate that falls behind earlier ones at a checkpoint is not trained to the end.

At each checkpoint of its training a candidate has to beat a quantile of what earlier candidates had there.
The floors that candidate i has to clear follow from the candidates up to i − lookahead, as everything that
it is shown does, so a run with hurdles is as reproducible as one without.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evonas.candidate import Evaluation
    from evonas.protocol import Protocol

LEAST_BEFORE = 20
"""Values that a checkpoint has to have seen before it turns anyone away: a quantile of fewer is mostly noise."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a candidate's training where it is compared with earlier ones.

    Attributes:
        anchor: the anchor in training.
        step: steps done, compared by accuracy on the latest training batches; None at the end of the
            anchor's training, compared by validation accuracy.
    """

    anchor: str
    step: int | None

    @property
    def name(self) -> str:
        """What records call it."""
        return f"hurdle {self.anchor} {'end' if self.step is None else self.step}"


def checkpoints(protocol: Protocol) -> tuple[Checkpoint, ...]:
    """A protocol's checkpoints, in the order in which a candidate comes to them; none without hurdle steps.

    The steps of the first anchor belong to the filters, and after the end of the last there is nothing to save.
    """
    if not protocol.hurdle_steps:
        return ()
    found = []
    for place, anchor in enumerate(protocol.anchors):
        if place > 0:
            found += [Checkpoint(anchor, step) for step in protocol.hurdle_steps if step < protocol.steps]
        if place < len(protocol.anchors) - 1:
            found.append(Checkpoint(anchor, None))
    return tuple(found)


class Hurdles:
    """What earlier candidates had at each checkpoint.

    Args:
        protocol: of the run.
        window: how many of the newest values of a checkpoint count, at least `LEAST_BEFORE`.
    """

    def __init__(self, protocol: Protocol, window: int) -> None:
        self.quantile = protocol.hurdle_quantile
        self._values: dict[str, deque[float]] = {
            c.name: deque(maxlen=max(window, LEAST_BEFORE)) for c in checkpoints(protocol)
        }

    def add(self, evaluation: Evaluation) -> None:
        """Takes note of a candidate, whether it cleared its hurdles or not.

        Were only those counted that cleared them, the floor would rise by itself.
        """
        for outcome in evaluation.filters:
            if outcome.name in self._values and outcome.value is not None:
                self._values[outcome.name].append(outcome.value)

    def floors(self) -> Mapping[str, float]:
        """What the next candidate has to reach, by checkpoint; those that have seen too little are left out."""
        if self.quantile == 0.0:
            return {}
        return {
            name: float(np.quantile(values, self.quantile, method="lower"))
            for name, values in self._values.items()
            if len(values) >= LEAST_BEFORE
        }
