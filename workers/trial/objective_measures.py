"""Measurement of the objectives other than accuracy; `evonas/settings/objectives.py` defines them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from evonas.errors import UsageError, shorten
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.objectives import OBJECTIVE_REGISTRY
from evonas.workers.anchors.goals import goal_of

if TYPE_CHECKING:
    from evonas.workers.trial.trial import Trial

SMALL_BATCH = 4
"""Images per micro-batch in the objective batch-4."""


def measure_objective(name: str, trial: Trial) -> float:
    """Measure an objective, evonas's own or a user's, for a trial, in the objective's unit.

    Raises:
        UsageError: A user's objective returns something other than a number.
    """
    if name in _MEASURES:
        return _MEASURES[name](trial)
    own = OBJECTIVE_REGISTRY.find(name).measure
    assert own is not None, "a user's objective has a function `measure`"
    value = own(trial)
    if not isinstance(value, int | float) or math.isnan(value):
        raise UsageError(f"the objective {name} returned {shorten(value)}, not a number")
    return float(value)


def _size(trial: Trial) -> float:
    assert isinstance(trial.layer, LayerFactory)  # what a search judges
    return float(len(trial.layer.graph.canonical.operations))


def _step_time(trial: Trial) -> float:
    seconds = trial.first.step_seconds
    return math.inf if seconds is None else seconds  # a layer that never took a step is the slowest


def _saved_bytes(trial: Trial) -> float:
    network = copy.deepcopy(trial.first.model).train()
    # By storage, so that a tensor counts once even if two operations save it, or one saves a view of it.
    kept: dict[int, int] = {}
    of_weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in of_weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, labels = trial.first.batch(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        goal_of(network).loss(network(images), labels)
    return float(sum(kept.values()))


def _small_batch(trial: Trial) -> float:
    protocol = trial.protocol
    training = trial.training(protocol.anchors[0], micro_batch=SMALL_BATCH)
    return training.accuracy("validation") if training.advance(protocol.steps) else 0.0


_MEASURES: Mapping[str, Callable[[Trial], float]] = MappingProxyType(
    {"batch-4": _small_batch, "size": _size, "step-time": _step_time, "saved-bytes": _saved_bytes}
)
