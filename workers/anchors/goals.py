"""What a network is trained for: its loss, and the number between 0 and 1 that a layer is scored by.

A network says so by an attribute `goal`. Without one it tells classes apart, as image classifiers do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.errors import UsageError, shorten, unknown
from evonas.workers.anchors.user_network import logits_of

if TYPE_CHECKING:
    from evonas.workers.data.splits import Split

IGNORED = -100
"""What stands for a token that a network is not asked for."""


class Prediction(NamedTuple):
    """What a network returns that knows itself what it should have returned.

    Attributes:
        found: float (b, …), logits (b, t, classes) of tokens for instance.
        wanted: of the same samples, such as tokens, int64 (b, t), with `IGNORED` where none is asked for.
    """

    found: Tensor
    wanted: Tensor


def pair_of(output: Any) -> Prediction:
    """Return what a network found and what it should have found, of a `Prediction` or any pair of tensors.

    Raises:
        UsageError: it is none.
    """
    if isinstance(output, tuple | list) and len(output) == 2 and all(isinstance(part, Tensor) for part in output):
        return Prediction(*output)
    raise UsageError(
        f"a network with a goal of its own returns what it found and what it should have: {shorten(output)}"
    )


class Goal(Protocol):
    """What a network is trained for."""

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the loss of a batch as a scalar.

        Args:
            output: what the network returns.
            labels: those of the data set, int64 (b,).
        """

    def measured(self, output: Any, labels: Tensor) -> Tensor:
        """Return one number for each sample, float (b,), whose mean over a split makes the score."""

    def score(self, mean: float) -> float:
        """Return the score between 0 and 1, higher is better, of a mean of `measured`."""

    def chance(self, split: Split) -> float:
        """Return the score of a network that has learned no more than how often each answer is right."""


class Classes:
    """To tell classes apart: cross-entropy in nats, and accuracy. A sample with an infinite logit counts as wrong."""

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(logits_of(output), labels)

    def measured(self, output: Any, labels: Tensor) -> Tensor:
        """Return 1 for a sample that is classified correctly, else 0."""
        logits = logits_of(output)
        return ((logits.argmax(1) == labels) & logits.isfinite().all(1)).float()

    def score(self, mean: float) -> float:
        """Return the accuracy."""
        return mean

    def chance(self, split: Split) -> float:
        """Return the share of the most frequent class."""
        return split.chance


class Tokens:
    """To foretell tokens: cross-entropy in nats, and exp(−loss), the geometric mean of the likelihood of a token."""

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the tokens that are asked for."""
        found, wanted = pair_of(output)
        return F.cross_entropy(found.flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)

    def measured(self, output: Any, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of each sample, infinite where it is no number."""
        found, wanted = pair_of(output)
        each = F.cross_entropy(found.transpose(1, 2).float(), wanted, ignore_index=IGNORED, reduction="none")
        return torch.nan_to_num(each.sum(1) / (wanted != IGNORED).sum(1), nan=math.inf)

    def score(self, mean: float) -> float:
        """Return the likelihood of a token."""
        return math.exp(-mean)

    def chance(self, split: Split) -> float:
        """Return the likelihood of a token to whom knows their frequencies alone."""
        counts = split.images.flatten().long().bincount().double()
        shares = counts[counts > 0] / counts.sum()
        return float(torch.exp((shares * shares.log()).sum()))


class Noise:
    """To find the noise that was added to images: squared error, and 1 − error / variance, at least 0."""

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the mean squared error."""
        found, wanted = pair_of(output)
        return F.mse_loss(found, wanted)

    def measured(self, output: Any, labels: Tensor) -> Tensor:
        """Return the mean squared error of each sample, infinite where it is no number."""
        found, wanted = pair_of(output)
        error = (found.float() - wanted).square().flatten(1).mean(1)
        return torch.nan_to_num(error, nan=math.inf)

    def score(self, mean: float) -> float:
        """Return the explained share of the noise, whose variance is 1."""
        return max(0.0, 1.0 - mean)

    def chance(self, split: Split) -> float:
        """Return 0, the score of no noise at all."""
        return 0.0


GOALS: Mapping[str, Goal] = MappingProxyType({"classes": Classes(), "tokens": Tokens(), "noise": Noise()})
"""The goals by the name that a network has as its attribute `goal`."""


def goal_of(network: nn.Module) -> Goal:
    """Return the goal of a network.

    Raises:
        UsageError: its attribute `goal` is none of `GOALS`.
    """
    name = getattr(network, "goal", "classes")
    if not isinstance(name, str):
        raise UsageError(f"the goal of a network is one of {', '.join(GOALS)}, not {type(name).__name__}")
    if name not in GOALS:
        raise unknown("goal", name, GOALS)
    return GOALS[name]
