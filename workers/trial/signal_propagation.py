"""Signal propagation at initialisation: does the signal reach the end of a network, and the gradient its start?

A layer that no training can rescue usually shows it at initialisation: over the depth of the network, activations
vanish, explode, or become alike for all inputs of a batch, or gradients vanish or explode. One forward and one
backward pass measure this at the cost of a single training step (cf. Schoenholz et al., "Deep Information
Propagation", 2017).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from evonas.layers.norm_act import computed_by
from evonas.workers.anchors import logits_of
from evonas.workers.anchors.goals import goal_of
from evonas.workers.trial.weights import judged_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

_TINY = 1e-30


@dataclass(frozen=True, slots=True)
class Signal:
    """Measurements at initialisation; those that span many orders of magnitude are decimal logarithms.

    Attributes:
        finite: whether the loss and every gradient are finite.
        scale: log10 of the root mean square of the features before the classifier.
        diversity: log10 of the features' spread over the batch, relative to their root mean square.
        gradient: log10 of the norm of the loss gradient over the weights of all convolutions, or over all weights of
            a network of another kind (`judged_weights`).
        balance: log10 of the gradient norm of the first of these weights over that of the last, each relative to the
            norm of its weight.
        logits: the largest absolute logit, or other output.
    """

    finite: bool
    scale: float
    diversity: float
    gradient: float
    balance: float
    logits: float


def measure_signal(model: nn.Module, images: Tensor, labels: Tensor) -> Signal:
    """Measure the signal of one batch through a copy of `model`.

    Args:
        model: a network whose classifier is its last `nn.Linear`.
        images: float32 (b, channels, h, w).
        labels: int64 (b,).
    """
    network = copy.deepcopy(model).train()
    if not images.is_cuda:
        computed_by(network, "reference")  # building kernels for one step costs more than the step
    features: list[Tensor] = []
    classifier = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach()))
    output = network(images)
    logits = logits_of(output)
    goal_of(model).loss(output, labels).backward()
    judged = judged_weights(network)
    weights = [w for w in judged if w.grad is not None] or judged  # some may not be used
    norms = [_norm(w.grad) for w in weights]
    (feature,) = features
    total = math.hypot(*norms)
    if not (math.isfinite(total) and bool(feature.isfinite().all()) and bool(logits.isfinite().all())):
        return Signal(False, math.nan, math.nan, math.nan, math.nan, math.nan)
    return Signal(
        finite=True,
        scale=_log(_rms(feature)),
        diversity=_log(_rms(feature - feature.mean(0)) / (_rms(feature) + _TINY)),
        gradient=_log(total),
        balance=_log(norms[0] / (_norm(weights[0]) + _TINY)) - _log(norms[-1] / (_norm(weights[-1]) + _TINY)),
        logits=float(logits.detach().abs().max()),
    )


def signal_fault(signal: Signal, limits: Sequence[tuple[str, float, float]]) -> str | None:
    """Name the first measurement that is outside its limits, such as "scale too low"; None if all are inside.

    Args:
        signal: the measurements.
        limits: rows (name of the measurement, lowest value, highest value).
    """
    if not signal.finite:
        return "not finite at initialisation"
    for name, low, high in limits:
        value = getattr(signal, name)
        if value < low:
            return f"{name} too low"
        if value > high:
            return f"{name} too high"
    return None


def _rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def _norm(values: Tensor | None) -> float:
    return 0.0 if values is None else float(torch.linalg.vector_norm(values.detach().double()))


def _log(value: float) -> float:
    return math.log10(max(value, _TINY))
