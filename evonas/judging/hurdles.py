"""Hurdles: a candidate that falls behind earlier ones at a checkpoint is not trained to the end.

At each checkpoint of its training a candidate must reach a quantile of the accuracies of earlier candidates there. The
floors of candidate i follow from the candidates up to i − lookahead, like everything else that it depends on, so a run
with hurdles is as reproducible as one without.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING

from evonas.settings.evaluation_protocol import OWN_SCORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evonas.settings.candidate import Evaluation
    from evonas.settings.evaluation_protocol import EvaluationProtocol

LEAST_BEFORE = 20
"""The number of values below which a checkpoint has no floor: a quantile of fewer is mostly noise."""

_PREFIX = "hurdle "
"""Of the names of checkpoints in records."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point in a candidate's training at which it is compared with earlier ones.

    Attributes:
        anchor: the anchor in training.
        step: the number of steps done, where accuracies on the latest training batches are compared; None for the end
            of the anchor's training, where validation accuracies are compared.
    """

    anchor: str
    step: int | None

    @property
    def name(self) -> str:
        """The name of the checkpoint in records."""
        return f"{_PREFIX}{self.anchor} {'end' if self.step is None else self.step}"


def is_hurdle(name: str) -> bool:
    """Whether a filter of this name in records is a checkpoint, at which a candidate falls behind others."""
    return name.startswith(_PREFIX)


def checkpoints(protocol: EvaluationProtocol) -> tuple[Checkpoint, ...]:
    """A protocol's checkpoints, in the order in which a candidate reaches them.

    The steps of the first anchor belong to the filters, unless it is a training loop of the user's own. Stopping at the
    end of the last anchor would save nothing.
    """
    if protocol.score:  # the steps are those that the user's own loop reports
        return tuple(Checkpoint(OWN_SCORE, step) for step in protocol.hurdle_steps)
    last = len(protocol.anchors) - 1
    wanted = protocol.hurdle_ends
    if wanted is None:
        wanted = last if protocol.hurdle_steps else 0
    ends = min(wanted, last)
    found = []
    for place, anchor in enumerate(protocol.anchors):
        if place > 0:
            found += [Checkpoint(anchor, step) for step in protocol.hurdle_steps if step < protocol.steps]
        if place < ends:
            found.append(Checkpoint(anchor, None))
    return tuple(found)


class Hurdles:
    """The accuracies of earlier candidates at each checkpoint, and the floors that follow from them.

    Args:
        protocol: the protocol of the run.
        window: how many of the newest values of a checkpoint count; at least `LEAST_BEFORE` do.
    """

    def __init__(self, protocol: EvaluationProtocol, window: int) -> None:
        self.quantile = protocol.hurdle_quantile
        self.window = max(window, LEAST_BEFORE)
        self._values = {c.name: _Window(self.window) for c in checkpoints(protocol)}

    @property
    def names(self) -> Sequence[str]:
        """The names of the checkpoints in records."""
        return tuple(self._values)

    def add(self, evaluation: Evaluation) -> None:
        """Add the values of a candidate, whether or not it cleared its hurdles.

        If only candidates that cleared them counted, the floors would rise by themselves.
        """
        for outcome in evaluation.filters:
            if outcome.name in self._values and outcome.value is not None:
                self.add_value(outcome.name, outcome.value)

    def add_value(self, name: str, value: float) -> None:
        """Add the accuracy of a candidate at the checkpoint with this name."""
        self._values[name].add(value)

    def floors(self) -> Mapping[str, float]:
        """The accuracy that the next candidate must reach, by name of the checkpoint; none with too few values."""
        if self.quantile == 0.0:
            return {}
        return {
            name: values.quantile(self.quantile) for name, values in self._values.items() if len(values) >= LEAST_BEFORE
        }


class _Window:
    """The newest `size` values of a checkpoint, sorted so that a quantile is a look-up."""

    def __init__(self, size: int) -> None:
        self._newest: deque[float] = deque(maxlen=size)
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if isnan(value):
            return  # NaN cannot be ordered
        if len(self._newest) == self._newest.maxlen:
            del self._sorted[bisect_left(self._sorted, self._newest[0])]
        self._newest.append(value)
        insort(self._sorted, value)

    def quantile(self, share: float) -> float:
        """The quantile of the values for a share from 0 to 1, by NumPy's method "lower"."""
        return float(self._sorted[int((len(self._sorted) - 1) * share)])
