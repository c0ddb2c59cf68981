"""The objectives beside accuracy that need a network; `evonas/settings/objectives.py` says what they mean."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from evonas.errors import UsageError, shorten
from evonas.settings.objectives import REGISTRY

if TYPE_CHECKING:
    from evonas.workers.trial.trial import Trial

SMALL_BATCH = 4


def measure(name: str, trial: Trial) -> float:
    """The value of an objective, evonas's own or a user's, for a trial, in its unit.

    Raises:
        UsageError: the user's does not give a number.
    """
    if name in _MEASURES:
        return _MEASURES[name](trial)
    own = REGISTRY.find(name).measure
    assert own is not None, "an objective of a user's own comes with its measurement"
    value = own(trial)
    if not isinstance(value, int | float) or math.isnan(value):
        raise UsageError(f"the objective {name} gave {shorten(value)} rather than a number")
    return float(value)


def _size(trial: Trial) -> float:
    return float(len(trial.layer.graph.canonical.nodes))


def _step_time(trial: Trial) -> float:
    seconds = trial.first.step_seconds
    return math.inf if seconds is None else seconds  # a layer that never took a step is the slowest


def _saved_bytes(trial: Trial) -> float:
    network = copy.deepcopy(trial.first.model).train()
    # By storage: a tensor that is saved by two operations, or with its view, is kept once.
    kept: dict[int, int] = {}
    of_weights = {p.untyped_storage().data_ptr() for p in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in of_weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    images, labels = trial.first.batch(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        F.cross_entropy(network(images), labels)
    return float(sum(kept.values()))


def _small_batch(trial: Trial) -> float:
    protocol = trial.protocol
    training = trial.training(protocol.anchors[0], part=SMALL_BATCH)
    return training.accuracy("validation") if training.advance(protocol.steps) else 0.0


_MEASURES: Mapping[str, Callable[[Trial], float]] = MappingProxyType(
    {"batch-4": _small_batch, "size": _size, "step-time": _step_time, "saved-bytes": _saved_bytes}
)
