"""The filters that need a network: signal propagation, stability, early stages, and quality, in order of cost.

Each judges a `Trial` and returns Accept or Reject. The early and quality filters look at the training of the first
anchor, which scoring then continues, so no training is repeated for a candidate that passes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from evonas.errors import UsageError, shorten
from evonas.judging.floors import floors_for, stages
from evonas.settings.candidate import QUALITY, Accept, Reject, Verdict
from evonas.settings.plugins import Registry
from evonas.workers.trial.signal_propagation import measure_signal, signal_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

Of 240 distinct candidates, 55 passed the quality test. Their scale was -1.0 to 0.3, diversity -1.5 to -0.2, gradient
-2.1 to 0.2, balance 0.5 to 2.5 and logits 0.02 to 0.7. The bounds leave a margin around these ranges and reject three
quarters of the other 185. `python -m benchmarks.filters price` repeats the measurement.
"""


class Filter(Protocol):
    """Rejects candidates before they cost a whole evaluation.

    Attributes:
        name: the name under which its results are recorded.
    """

    @property
    def name(self) -> str:
        """The name under which the filter's results are recorded."""

    def judge(self, trial: Trial) -> Verdict:
        """Return Accept, or Reject with a reason."""


@dataclass(frozen=True)
class SignalFilter:
    """Signal propagation through the first anchor at initialisation, on one batch."""

    name: str = "signal"

    def judge(self, trial: Trial) -> Verdict:
        """Reject a layer under which the signal vanishes, explodes or collapses over the depth of the network."""
        images, labels = trial.first.batch(0)
        reason = signal_fault(measure_signal(trial.first.model, images, labels), SIGNAL_LIMITS)
        return Accept() if reason is None else Reject(reason)


@dataclass(frozen=True)
class StabilityFilter:
    """Gradient ascent on the weights, up to a step (Liu et al. 2020, section 3.2; see `stability.py`)."""

    step: int

    @property
    def name(self) -> str:
        """The kind of filter and its step."""
        return f"stability-{self.step}"

    def judge(self, trial: Trial) -> Verdict:
        """Reject a layer under which the gradient norm exceeds the protocol's limit or is not finite."""
        stable = trial.ascent.advance(self.step)
        norm = trial.ascent.norms[-1]
        return Accept(norm) if stable else Reject("gradient explodes", norm if math.isfinite(norm) else None)


@dataclass(frozen=True)
class EarlyFilter:
    """Accuracy on the latest training batches after a few steps: a candidate at chance level goes no further.

    Training batches are seen in training mode, so running statistics that lag behind do not matter.
    """

    step: int
    floor: float

    @property
    def name(self) -> str:
        """The kind of filter and its step."""
        return f"early-{self.step}"

    def judge(self, trial: Trial) -> Verdict:
        """Reject a candidate that diverged or has not learned anything yet."""
        if not trial.first.advance(self.step):
            return Reject("training diverged")
        accuracy = trial.first.train_accuracy()
        return Accept(accuracy) if accuracy >= self.floor else Reject("at chance", accuracy)


@dataclass(frozen=True)
class QualityFilter:
    """Validation accuracy on the first anchor (Liu et al. 2020, section 3.2)."""

    step: int
    floor: float
    name: str = QUALITY

    def judge(self, trial: Trial) -> Verdict:
        """Reject a candidate that diverged or is below the floor."""
        if not trial.first.advance(self.step):
            return Reject("training diverged")
        accuracy = trial.first.accuracy("validation")
        return Accept(accuracy) if accuracy >= self.floor else Reject("low accuracy", accuracy)


@dataclass(frozen=True)
class UserFilter:
    """A user's filter, whose verdicts are checked."""

    given: Filter

    @property
    def name(self) -> str:
        """The name that the user gave the filter."""
        return self.given.name

    def judge(self, trial: Trial) -> Verdict:
        """Return the verdict of the user's filter.

        Raises:
            UsageError: The verdict is neither Accept nor Reject.
        """
        verdict = self.given.judge(trial)
        if not isinstance(verdict, Accept | Reject):
            raise UsageError(f"the filter {self.name} returned {shorten(verdict)} instead of Accept or Reject")
        return verdict


def _user_filter(_: str, found: Any) -> Filter | None:
    """Wrap a user's filter, given as an object or as a class without constructor arguments."""
    made = found() if isinstance(found, type) else found
    named = isinstance(getattr(made, "name", None), str)
    return UserFilter(made) if named and callable(getattr(made, "judge", None)) else None


FILTERS: Registry[Filter] = Registry(
    "filter", {}, _user_filter, "an object with a `name` and a method `judge(trial)`, or the class of one"
)
"""Finds a user's filter by name."""


def filters_of(settings: EvaluationProtocol, floors: Mapping[str, float] = MappingProxyType({})) -> Sequence[Filter]:
    """Return the filters of a protocol in order. None of them trains longer than scoring does.

    Args:
        settings: the protocol.
        floors: accuracies that filters ask for, by name of the filter, in place of the protocol's own.

    Raises:
        UsageError: The protocol's floors follow from published layers, and one of them is not in `floors`.
    """
    if settings.score:  # a training loop of the user's own has no network for the others
        return [FILTERS.find(name) for name in settings.filters]
    filters: list[Filter] = [SignalFilter()] if settings.signal else []
    filters += [StabilityFilter(step) for step in settings.stability_steps]
    filters += [FILTERS.find(name) for name in settings.filters]
    found = floors_for(settings, floors)
    *early, quality = stages(settings)
    filters += [EarlyFilter(stage.step, found[stage.name]) for stage in early]
    return [*filters, QualityFilter(quality.step, found[quality.name])]
