"""Stability: can the weights be pushed to where the gradient explodes?

Liu et al. 2020, section 3.2: starting from a freshly initialised network, gradient *ascent* on the weights
of the convolutions raises the norm of the loss gradient. A layer that keeps the network stable holds the
norm down however the weights are pushed; with one that does not, the norm passes any bound within a few
steps. Most unstable layers show it in the first five, so a few steps cost little and tell most.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evonas.layers.norm_act import computed_by


class Ascent:
    """Gradient ascent on a network's convolution weights w, to raise the norm of dL/dw on one batch.

    Each step is w += rate · d‖dL/dw‖/dw, the norm being taken over all convolutions together. The other
    parameters stay as they are. Advances in stages, so that a filter can stop it early.

    Args:
        model: a freshly initialised network, which is left as it was.
        images: (b, channels, h, w).
        labels: (b,), int64.
        rate: step size.
        limit: norm beyond which the ascent ends.

    Attributes:
        step: steps done.
        norms: the norm before each step and after the last.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, rate: float, limit: float) -> None:
        self._network = copy.deepcopy(model).train()
        computed_by(self._network, "reference")  # kernels have no second derivative, and each step takes one
        self._weights = [m.weight for m in self._network.modules() if isinstance(m, nn.Conv2d)]
        self._images, self._labels = images, labels
        self._rate, self._limit = rate, limit
        self.step = 0
        self._norm = self._measure()
        self.norms = [self._norm.item()]

    @property
    def stable(self) -> bool:
        """Whether the latest norm is finite and within the limit."""
        return math.isfinite(self.norms[-1]) and self.norms[-1] <= self._limit

    def advance(self, to_step: int) -> bool:
        """Ascends until `to_step` steps are done, counted from the start, or the norm has left its limit.

        Returns:
            Whether the network is still stable.
        """
        while self.step < to_step and self.stable:
            # A weight that the gradient does not depend on, as in a linear network's last layer, stays.
            uphill = torch.autograd.grad(self._norm, self._weights, allow_unused=True)
            with torch.no_grad():
                for weight, direction in zip(self._weights, uphill, strict=True):
                    if direction is not None:
                        weight.add_(direction, alpha=self._rate)
            self.step += 1
            self._norm = self._measure()
            self.norms.append(self._norm.item())
        return self.stable

    def _measure(self) -> Tensor:
        """The norm of the loss gradient, as a differentiable scalar."""
        loss = F.cross_entropy(self._network(self._images), self._labels)
        gradients = torch.autograd.grad(loss, self._weights, create_graph=True)
        return torch.sqrt(sum((g.square().sum() for g in gradients), torch.zeros((), device=loss.device)))
