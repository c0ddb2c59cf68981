"""Hurdles: a candidate that falls behind earlier ones at a checkpoint is not trained to the end.

At each checkpoint of its training a candidate has to beat a quantile of what earlier candidates had there.
The floors that candidate i has to clear follow from the candidates up to i − lookahead, as everything that
it is shown does, so a run with hurdles is as reproducible as one without.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evonas.settings.candidate import Evaluation
    from evonas.settings.evaluation_protocol import EvaluationProtocol

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


def checkpoints(protocol: EvaluationProtocol) -> tuple[Checkpoint, ...]:
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

    def __init__(self, protocol: EvaluationProtocol, window: int) -> None:
        self.quantile = protocol.hurdle_quantile
        self.window = max(window, LEAST_BEFORE)
        self._values = {c.name: _Window(self.window) for c in checkpoints(protocol)}

    @property
    def names(self) -> Sequence[str]:
        """What records call the checkpoints."""
        return tuple(self._values)

    def add(self, evaluation: Evaluation) -> None:
        """Takes note of a candidate, whether it cleared its hurdles or not.

        Were only those counted that cleared them, the floor would rise by itself.
        """
        for outcome in evaluation.filters:
            if outcome.name in self._values and outcome.value is not None:
                self.note(outcome.name, outcome.value)

    def note(self, name: str, value: float) -> None:
        """Takes note of what a candidate had at a checkpoint."""
        self._values[name].add(value)

    def floors(self) -> Mapping[str, float]:
        """What the next candidate has to reach, by checkpoint; those that have seen too little are left out."""
        if self.quantile == 0.0:
            return {}
        return {
            name: values.quantile(self.quantile) for name, values in self._values.items() if len(values) >= LEAST_BEFORE
        }


class _Window:
    """The newest values of a checkpoint, at most `size`, kept in order so that a quantile is a look-up."""

    def __init__(self, size: int) -> None:
        self._newest: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if isnan(value):
            return  # it has no place in an order
        if len(self._newest) == self._newest.maxlen:
            del self._sorted[bisect_left(self._sorted, self._newest[0])]
        self._newest.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        """The value at that share of the way through the order, rounded down: NumPy's method "lower"."""
        return float(self._sorted[int((len(self._sorted) - 1) * share)])
