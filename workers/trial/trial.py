"""A candidate on trial: its networks, built and trained as far as its judges ask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from evonas.workers.trial.stability import Ascent
from evonas.workers.trial.training import Training

if TYPE_CHECKING:
    from evonas.layers.layer_factory import LayerFactory
    from evonas.settings.evaluation_protocol import EvaluationProtocol
    from evonas.workers.data.dataset import DataSet


@dataclass(frozen=True)
class Trial:
    """One layer under one protocol.

    Attributes:
        layer: what goes into the anchors.
        protocol: how they are trained.
        data: what they are trained on.
    """

    layer: LayerFactory
    protocol: EvaluationProtocol
    data: DataSet

    @cached_property
    def first(self) -> Training:
        """The training of the first anchor, which filters and scoring share, so that no step is done twice."""
        return self.training(self.protocol.anchors[0])

    @cached_property
    def ascent(self) -> Ascent:
        """Gradient ascent on a fresh copy of the first anchor, which the stages of the stability filter share."""
        fresh = self.first if self.first.step == 0 else self.training(self.protocol.anchors[0])
        images, labels = fresh.batch(0)
        return Ascent(fresh.model, images, labels, self.protocol.stability_rate, self.protocol.stability_limit)

    def training(self, anchor: str, part: int | None = None) -> Training:
        """A new training of `anchor`; with `part`, its batches go through the network so many images at a time."""
        return Training(anchor, self.layer, self.data, self.protocol, part)
