"""What a layer has at each filter, measured without rejecting it: the basis of floors that follow from the task."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from evonas.judging.floors import stages
from evonas.settings.candidate import Reject
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.workers.trial.network_filters import filters_of
from evonas.workers.trial.training import LATEST_BATCHES

if TYPE_CHECKING:
    from evonas.workers.trial.trial import Trial


def measure_filters(trial: Trial, on_stage: Callable[[str], object]) -> tuple[CheckpointValue, ...]:
    """Run the filters of a trial's protocol except the user's own, which may reject published layers on purpose.

    The first anchor is trained as far as the last filter needs it, and scoring continues that training.

    Args:
        trial: the layer with its networks.
        on_stage: called with the name of each filter before it begins.

    Returns:
        What each filter measures, in their order.
    """
    protocol = replace(trial.protocol, filters=())
    with_floor = {stage.name: stage for stage in stages(protocol)}
    found = []
    for judge in filters_of(protocol, dict.fromkeys(with_floor, -math.inf)):
        on_stage(judge.name)
        verdict = judge.judge(trial)
        reason = verdict.reason if isinstance(verdict, Reject) else ""
        value = CheckpointValue(judge.name, verdict.value, reason)
        if judge.name in with_floor:
            value = _data_behind(value, trial, with_floor[judge.name].step)
        found.append(value)
    return tuple(found)


def _data_behind(value: CheckpointValue, trial: Trial, step: int) -> CheckpointValue:
    """The value with chance on the images of its accuracy, and how many of those are independent of one another."""
    data = trial.first.data
    if value.checkpoint == "quality":
        # Augmented copies of one image are mostly right or wrong together.
        split, images = data.validation, len(data.validation) // data.copies
    else:
        split = data.train
        images = min(min(step, LATEST_BATCHES) * trial.protocol.batch, len(data.train))  # more would be repetitions
    return replace(value, chance=trial.first.goal.chance(split), images=max(1, images))
