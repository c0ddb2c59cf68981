"""Stability: can the weights be pushed to where the gradient explodes?

Liu et al. 2020, section 3.2: starting from a freshly initialised network, gradient *ascent* on the weights
of the convolutions raises the norm of the loss gradient. A stable layer keeps the norm low, however the weights
are pushed; with an unstable one, the norm exceeds any bound within a few steps. Most unstable layers show this
within five steps, so a short ascent is cheap and finds most of them.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from evonas.layers.norm_act import computed_by
from evonas.workers.anchors.goals import goal_of
from evonas.workers.trial.weights import judged_weights


class GradientAscent:
    """Gradient ascent on a network's weights w, to raise the norm of dL/dw on one batch.

    They are those of its convolutions, or all of them in a network of another kind (`judged_weights`). Each step is w
    += step_size · d‖dL/dw‖/dw, where the norm covers all of them together. The other parameters do not change. The
    ascent advances in stages, so that a filter can stop it early.

    Args:
        model: a freshly initialised network, which is not changed.
        images: float32 (b, channels, h, w).
        labels: int64 (b,).
        step_size: size of a step.
        limit: norm beyond which the ascent ends.

    Attributes:
        step: number of steps done.
        norms: the norm before each step and after the last.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, step_size: float, limit: float) -> None:
        self._network = copy.deepcopy(model).train()
        self._goal = goal_of(model)
        computed_by(self._network, "reference")  # kernels have no second derivative, which each step needs
        self._weights = judged_weights(self._network)
        self._images, self._labels = images, labels
        self._step_size, self._limit = step_size, limit
        self.step = 0
        self._norm = self._measure()
        self.norms = [self._norm.item()]

    @property
    def stable(self) -> bool:
        """Whether the latest norm is finite and within the limit."""
        return math.isfinite(self.norms[-1]) and self.norms[-1] <= self._limit

    def advance(self, to_step: int) -> bool:
        """Ascend until `to_step` steps are done, counted from the start, or the norm has exceeded its limit.

        Returns:
            Whether the network is still stable.
        """
        while self.step < to_step and self.stable:
            # The gradient may not depend on a weight, as in the last layer of a linear network; such a weight stays.
            uphill = torch.autograd.grad(self._norm, self._weights, allow_unused=True)
            with torch.no_grad():
                for weight, direction in zip(self._weights, uphill, strict=True):
                    if direction is not None:
                        weight.add_(direction, alpha=self._step_size)
            self.step += 1
            self._norm = self._measure()
            self.norms.append(self._norm.item())
        return self.stable

    def _measure(self) -> Tensor:
        """Compute the norm of the loss gradient as a differentiable scalar."""
        with sdpa_kernel(SDPBackend.MATH):  # PyTorch's other forms of attention have no second derivative
            loss = self._goal.loss(self._network(self._images), self._labels)
        gradients = torch.autograd.grad(loss, self._weights, create_graph=True, allow_unused=True)
        squares = (g.square().sum() for g in gradients if g is not None)
        return torch.sqrt(sum(squares, torch.zeros((), device=loss.device)))
