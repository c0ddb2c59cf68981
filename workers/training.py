"""Training one anchor with one layer, in stages, reproducibly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.errors import UsageError
from evonas.workers.anchors import LayerFactory, build_anchor
from evonas.workers.data import DataSet

_EVALUATED_AT_ONCE = 200  # images: large enough to make calls cheap, small enough for a CPU's cache


@dataclass(frozen=True)
class TrainingSettings:
    """How a candidate is trained: stochastic gradient descent with Nesterov momentum.

    Attributes:
        steps: length of the training, which the cosine schedule reaches 0 at.
        batch: images a step.
        lr: learning rate at the start.
        momentum: of Nesterov's method.
        weight_decay: added to the gradient of every parameter, the layers' own included.
        schedule: ``"constant"``, or ``"cosine"`` from ``lr`` to 0, which halves the spread of a short
            training's accuracy over seeds: the last steps no longer throw the weights about.

    Raises:
        UsageError: a setting is out of its range.
    """

    steps: int = 100
    batch: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"

    def __post_init__(self) -> None:
        valid = {
            "steps": self.steps >= 1,
            "batch": self.batch >= 1,
            "lr": 0 < self.lr < math.inf,
            "momentum": 0 < self.momentum < 1,  # Nesterov's method is undefined without momentum
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "schedule": self.schedule in ("constant", "cosine"),
        }
        for name, holds in valid.items():
            if not holds:
                raise UsageError(f"training setting {name} = {getattr(self, name)!r} is out of range")

    def lr_at(self, step: int) -> float:
        """The learning rate of a step counted from 0."""
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(step, self.steps) / self.steps))


class Training:
    """One model being trained; advances in stages so that a filter can stop it early.

    The weights, the batches and their distortion follow from ``seed``. With one thread, the same arguments
    give the same bits on a CPU, whatever the stages, and PyTorch's global random state is left as it was.

    Attributes:
        model: the anchor with the layer in it.
        step: training steps done.
        losses: cross-entropy of each step, in nats.
        diverged: whether a loss was infinite or not a number; training has then ended.
    """

    def __init__(
        self,
        anchor: str,
        layer: LayerFactory,
        data: DataSet,
        settings: TrainingSettings,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data, self.settings, self.device = data, settings, torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # the CPU's alone: fork_rng gives back just that one
            model = build_anchor(anchor, layer, in_channels=data.channels, classes=data.classes)
        self.model: nn.Module = model.to(self.device)
        self.step = 0
        self.losses: list[float] = []
        self.diverged = False
        self._batches = data.batches(seed, settings.batch)
        self._correct: list[Tensor] = []
        self._optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            nesterov=True,
            fused=True,  # one call for all parameters: small models spend a tenth of a step on calls
        )

    def advance(self, to_step: int) -> bool:
        """Train until ``to_step`` steps are done, counted from the start.

        Returns:
            False as soon as a loss is not finite, and at every later call, without further training.
        """
        while self.step < to_step and not self.diverged:
            images, labels = (tensor.to(self.device) for tensor in self._batches[self.step])
            for group in self._optimizer.param_groups:
                group["lr"] = self.settings.lr_at(self.step)
            logits = self.model(images)
            loss = F.cross_entropy(logits, labels)
            self.losses.append(loss.item())
            self.diverged = not math.isfinite(self.losses[-1])
            if self.diverged:
                break
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._correct.append((logits.detach().argmax(1) == labels).float().mean())
            self.step += 1
        return not self.diverged

    def train_accuracy(self, last: int = 10) -> float:
        """Mean accuracy on the last training batches, each before its step: free of charge, and noisy.

        Returns:
            A fraction; 0 before the first step.
        """
        recent = self._correct[-last:]
        return torch.stack(recent).mean().item() if recent else 0.0

    @torch.no_grad()
    def accuracy(self, split: Literal["validation", "test"], limit: int | None = None) -> float:
        """Fraction of a split's images whose class is found, in evaluation mode.

        A sample with a logit that is not finite counts as wrong.

        Args:
            split: which images.
            limit: use only the first so many; the classes stay balanced.
        """
        samples = (self.data.validation if split == "validation" else self.data.test).first(limit)
        self.model.eval()
        correct = 0
        for start in range(0, len(samples), _EVALUATED_AT_ONCE):
            rows = slice(start, start + _EVALUATED_AT_ONCE)
            logits = self.model(samples.images[rows].to(self.device))
            right = (logits.argmax(1) == samples.labels[rows].to(self.device)) & logits.isfinite().all(1)
            correct += int(right.sum().item())
        self.model.train()
        return correct / len(samples)
