"""The filters that need a network: signal propagation, stability, early stages, and quality, in order of cost.

Each answers for a `Trial` with Accept or Reject. The stages work on the training of the first anchor,
which scoring then continues, so a candidate that passes has paid nothing twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from evonas.errors import UsageError, shorten
from evonas.settings.candidate import Accept, Reject, Verdict
from evonas.settings.plugins import Registry
from evonas.workers.trial.signal_propagation import measure, unfit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evonas.settings.evaluation_protocol import EvaluationProtocol
    from evonas.workers.trial.trial import Trial

SIGNAL_LIMITS = (
    ("scale", -2.0, 1.0),
    ("diversity", -2.0, 0.5),
    ("gradient", -3.0, 1.0),
    ("balance", -0.5, 3.5),
    ("logits", 0.004, 4.0),
)
"""Bounds on a network's signal at initialisation.

Of 240 distinct candidates, 55 passed the quality test; they measured scale -1.0 to 0.3, diversity -1.5 to
-0.2, gradient -2.1 to 0.2, balance 0.5 to 2.5 and logits 0.02 to 0.7. The bounds leave a margin around these
and turn away three quarters of the other 185. `python -m benchmarks.filters price` repeats the measurement.
"""


class Filter(Protocol):
    """Turns candidates away before they cost a whole evaluation.

    Attributes:
        name: what records call it.
    """

    @property
    def name(self) -> str:
        """What records call the filter."""

    def judge(self, trial: Trial) -> Verdict:
        """Accept, or Reject with a reason."""


@dataclass(frozen=True)
class SignalFilter:
    """Signal propagation through the first anchor at initialisation, on one batch."""

    name: str = "signal"

    def judge(self, trial: Trial) -> Verdict:
        """Rejects what vanishes, explodes or collapses over depth."""
        images, labels = trial.first.batch(0)
        reason = unfit(measure(trial.first.model, images, labels), SIGNAL_LIMITS)
        return Accept() if reason is None else Reject(reason)


@dataclass(frozen=True)
class StabilityFilter:
    """Gradient ascent on the weights, up to a step (Liu et al. 2020, section 3.2; see `stability.py`)."""

    step: int

    @property
    def name(self) -> str:
        """Names the step."""
        return f"stability-{self.step}"

    def judge(self, trial: Trial) -> Verdict:
        """Rejects a layer under which the norm of the gradient passes the protocol's limit or is not finite."""
        stable = trial.ascent.advance(self.step)
        norm = trial.ascent.norms[-1]
        return Accept(norm) if stable else Reject("gradient explodes", norm if math.isfinite(norm) else None)


@dataclass(frozen=True)
class EarlyFilter:
    """Accuracy on the latest training batches, after a few steps: a candidate at chance goes no further.

    Training batches are judged in training mode, so running statistics that lag behind do not matter.
    """

    step: int
    floor: float

    @property
    def name(self) -> str:
        """Names the step."""
        return f"early-{self.step}"

    def judge(self, trial: Trial) -> Verdict:
        """Rejects what diverged or learned nothing yet."""
        if not trial.first.advance(self.step):
            return Reject("training diverged")
        accuracy = trial.first.train_accuracy()
        return Accept(accuracy) if accuracy >= self.floor else Reject("at chance", accuracy)


@dataclass(frozen=True)
class QualityFilter:
    """Validation accuracy on the first anchor (Liu et al. 2020, section 3.2)."""

    step: int
    floor: float
    name: str = "quality"

    def judge(self, trial: Trial) -> Verdict:
        """Rejects what diverged or stays under the floor."""
        if not trial.first.advance(self.step):
            return Reject("training diverged")
        accuracy = trial.first.accuracy("validation")
        return Accept(accuracy) if accuracy >= self.floor else Reject("low accuracy", accuracy)


@dataclass(frozen=True)
class OwnFilter:
    """A user's filter, whose answers are checked."""

    given: Filter

    @property
    def name(self) -> str:
        """The name that the user gave it."""
        return self.given.name

    def judge(self, trial: Trial) -> Verdict:
        """What the user's filter says.

        Raises:
            UsageError: it says neither Accept nor Reject.
        """
        verdict = self.given.judge(trial)
        if not isinstance(verdict, Accept | Reject):
            raise UsageError(f"the filter {self.name} answered {shorten(verdict)}, neither Accept nor Reject")
        return verdict


def _own(_: str, found: Any) -> Filter | None:
    """A user's filter, or a class of which one can be made without arguments."""
    made = found() if isinstance(found, type) else found
    named = isinstance(getattr(made, "name", None), str)
    return OwnFilter(made) if named and callable(getattr(made, "judge", None)) else None


FILTERS: Registry[Filter] = Registry(
    "filter", {}, _own, "an object with a `name` and a method `judge(trial)`, or the class of one"
)


def filters_of(settings: EvaluationProtocol) -> Sequence[Filter]:
    """The filters that a protocol asks for, in order. None of them trains longer than scoring does."""
    quality_step = min(settings.quality_step, settings.steps)
    filters: list[Filter] = [SignalFilter()] if settings.signal else []
    filters += [StabilityFilter(step) for step in settings.stability_steps]
    filters += [FILTERS.find(name) for name in settings.filters]
    stages = zip(settings.early_steps, settings.early_floors, strict=True)
    filters += [EarlyFilter(step, floor) for step, floor in stages if step < quality_step]
    return [*filters, QualityFilter(quality_step, settings.quality_floor)]
