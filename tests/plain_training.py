"""A plain training, written down from the protocol: a loop over steps, with nothing shared or cached.

Tests compare `workers/trial/training.py` with it, which uses stages, micro-batches and PyTorch's optimiser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evonas.layers.layer_factory import LayerFactory
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import build_anchor
from evonas.workers.data.dataset import DataSet


@dataclass
class Plain:
    """What came of it.

    Attributes:
        model: as it is after the last step.
        losses: of each step, in nats.
        found: the share of each step's images whose class was found, before the step.
    """

    model: nn.Module
    losses: list[float]
    found: list[float]

    def lately(self) -> float:
        """The mean of `found` over the last ten steps."""
        latest = self.found[-10:]
        return sum(latest) / len(latest)


def plainly_trained(
    layer: LayerFactory, data: DataSet, protocol: EvaluationProtocol, steps: int, anchor: str | None = None
) -> Plain:
    """Train an anchor, the protocol's first by default, for so many steps of the protocol."""
    with torch.random.fork_rng():
        torch.manual_seed(protocol.seed)
        model = build_anchor(
            anchor or protocol.anchors[0], layer, in_channels=data.channels, classes=data.classes
        ).train()
    weights = list(model.parameters())
    moving = [torch.zeros_like(weight) for weight in weights]
    losses, found = [], []
    batches = data.batches(protocol.seed, protocol.batch, protocol.pad, protocol.crop, protocol.flip)
    for step in range(steps):
        images, labels = batches[step]
        logits = model(images)
        rows = torch.arange(len(labels))
        loss = (logits.exp().sum(1).log() - logits[rows, labels]).mean()
        slopes = torch.autograd.grad(loss, weights)
        rate = protocol.lr
        if protocol.schedule == "cosine":
            rate *= (1 + math.cos(math.pi * step / protocol.steps)) / 2
        with torch.no_grad():
            for weight, slope, velocity in zip(weights, slopes, moving, strict=True):
                downhill = slope + protocol.weight_decay * weight
                velocity.mul_(protocol.momentum).add_(downhill)
                weight -= rate * (downhill + protocol.momentum * velocity)
        losses.append(loss.item())
        found.append(_share(logits, labels))
    return Plain(model, losses, found)


@torch.no_grad()
def plain_accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of images, as networks see them, that are classified correctly in evaluation mode."""
    share = _share(model.eval()(images), labels)
    model.train()
    return share


def _share(logits: Tensor, labels: Tensor) -> float:
    return sum(int(row.argmax()) == int(label) for row, label in zip(logits, labels, strict=True)) / len(labels)
