"""Floors: the accuracies that a candidate must reach at the filters early-N and quality.

What an accuracy means depends on the task: 0.2 is twice chance on ten classes, below chance on two, and more than a
good layer has after a hundred steps on a hundred. So a protocol can give floors as shares of the way from chance to
what published layers have at the same step of the same training. These layers are measured before the first candidate
is judged, and the floors go to workers with each task.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import median
from typing import TYPE_CHECKING

from evonas.errors import UsageError
from evonas.settings.candidate import QUALITY
from evonas.settings.run_config import FLOOR_LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evonas.settings.checkpoint_value import CheckpointValue
    from evonas.settings.evaluation_protocol import EvaluationProtocol

NOISE = 3.0
"""How many standard errors of an accuracy count as noise.

The accuracy of a layer that has learned nothing exceeds chance by more once in a thousand times. And a layer as good as
the reference, measured on as many images, lies above a floor at a share s of the way by at least 3 (1 - s) standard
errors, so that noise turns away one such layer in forty at most for a third, and one in five for 0.7."""
_SETTINGS = {"signal": "protocol.signal", "stability": "protocol.stability_limit"}


@dataclass(frozen=True, slots=True)
class Stage:
    """A filter that compares an accuracy with a floor.

    Attributes:
        name: the name of the filter.
        step: the step of the first anchor at which it judges.
        given: the protocol's number for it: the floor, or a share.
        reason: why it rejects a candidate below its floor.
        setting: the setting that holds the number.
    """

    name: str
    step: int
    given: float
    reason: str
    setting: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A published layer that a filter of the run would reject if it were a candidate.

    Attributes:
        layer: the name of the layer.
        filter: the name of the first filter that would reject it.
        reason: why.
        value: what the filter measured; None if it measured nothing.
        floor: the accuracy that it asks for; None if it asks for none.
        setting: the setting that decides.
    """

    layer: str
    filter: str
    reason: str
    value: float | None
    floor: float | None
    setting: str

    def __str__(self) -> str:
        measured = "" if self.value is None else f", {self.value:.3g}"
        asked = "" if self.floor is None else f" (the floor is {self.floor:.3g})"
        return (
            f"{self.layer} would be turned away by {self.filter}: {self.reason}{measured}{asked}; "
            f"layers like it will not be found; see --set {self.setting}"
        )


def stages(protocol: EvaluationProtocol) -> tuple[Stage, ...]:
    """The filters of a protocol that have a floor, in order. None of them trains longer than scoring does."""
    last = min(protocol.quality_step, protocol.steps)
    early = zip(protocol.early_steps, protocol.early_floors, strict=True)
    found = [Stage(f"early-{n}", n, given, "at chance", "protocol.early_floors") for n, given in early if n < last]
    return (*found, Stage(QUALITY, last, protocol.quality_floor, "low accuracy", "protocol.quality_floor"))


def floors_for(protocol: EvaluationProtocol, task_floors: Mapping[str, float]) -> dict[str, float]:
    """The floors by which a task's candidate is judged, by name of the filter.

    Args:
        protocol: the task's protocol.
        task_floors: the floors that came with the task, which go before the protocol's own.

    Raises:
        UsageError: the protocol's floors follow from published layers, and one did not come with the task.
    """
    found = {}
    for stage in stages(protocol):
        if protocol.floors == "published" and stage.name not in task_floors:
            raise UsageError(
                f"the floor of the filter {stage.name} follows from published layers and is missing: measure them "
                f'first, pass the floor with the task, or set protocol.floors to "absolute"'
            )
        found[stage.name] = task_floors.get(stage.name, stage.given)
    return found


def run_floors(
    protocol: EvaluationProtocol,
    measured: Mapping[str, Sequence[CheckpointValue]],
    layers: Sequence[str] = FLOOR_LAYERS,
) -> Mapping[str, float] | None:
    """The floors of a run, by name of the filter.

    Args:
        protocol: the run's protocol.
        measured: what published layers have at its filters, by layer.
        layers: those whose median the floors follow.

    Returns:
        The accuracies; None if they follow from published layers and none of `layers` has been measured.
    """
    if protocol.floors == "absolute":
        return {stage.name: stage.given for stage in stages(protocol)}
    values = [value for name in layers for value in measured.get(name, ())]
    by_stage = {stage: [v for v in values if v.checkpoint == stage.name] for stage in stages(protocol)}
    if not all(by_stage.values()):
        return None
    return {stage.name: _floor(stage.given, found) for stage, found in by_stage.items()}


def noise(accuracy: float, images: int) -> float:
    """How far an accuracy that is measured on so many images may lie from the true one: `NOISE` standard errors."""
    return NOISE * sqrt(accuracy * (1.0 - accuracy) / images)


def turned_away(
    layer: str, values: Sequence[CheckpointValue], protocol: EvaluationProtocol, floors: Mapping[str, float]
) -> TurnedAway | None:
    """The first filter that would reject a published layer, or None.

    Args:
        layer: the name of the layer.
        values: what it has at the filters, in order.
        protocol: the run's protocol.
        floors: the run's floors.
    """
    by_name = {stage.name: stage for stage in stages(protocol)}
    for value in values:
        stage, floor = by_name.get(value.checkpoint), floors.get(value.checkpoint)
        setting = _SETTINGS.get(value.checkpoint.partition("-")[0], "protocol") if stage is None else stage.setting
        if value.reason:
            return TurnedAway(layer, value.checkpoint, value.reason, value.value, None, setting)
        if stage is not None and floor is not None and value.value is not None and value.value < floor:
            return TurnedAway(layer, value.checkpoint, stage.reason, value.value, floor, setting)
    return None


def _floor(share: float, values: Sequence[CheckpointValue]) -> float:
    """The floor of one filter, from what the floor layers have there."""
    chance, images = values[0].chance or 0.0, values[0].images or 1  # of the data, so equal for all layers
    trained = [value.value for value in values if value.value is not None]
    reference = median([0.0 if value.value is None else value.value for value in values])
    if reference - chance > noise(reference, images):
        return chance + share * (reference - chance)
    # Nothing can be told yet. Published layers may themselves lie below chance here, by noise where images or classes
    # are few per batch, or because they do not answer the most frequent class alone; they must not fall for that.
    return max(0.0, min([chance, *trained]) - noise(chance, images))
