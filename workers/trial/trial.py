"""A candidate on trial: its networks, built and trained only as far as filters and scoring need them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from evonas.workers.trial.stability import GradientAscent
from evonas.workers.trial.training import Training

if TYPE_CHECKING:
    from evonas.layers.layer_factory import LayerFactory
    from evonas.layers.modules.module_factory import ModuleFactory
    from evonas.settings.evaluation_protocol import EvaluationProtocol
    from evonas.workers.data.dataset import DataSet


@dataclass(frozen=True)
class Trial:
    """One layer under one protocol.

    Attributes:
        layer: the layer that is placed in the anchors.
        protocol: how the anchors are trained.
        data: the data set that they are trained on.
        reported: the numbers that a training loop of the user's own returned.
    """

    layer: LayerFactory | ModuleFactory
    protocol: EvaluationProtocol
    data: DataSet
    reported: dict[str, float] = field(default_factory=dict)

    @cached_property
    def first(self) -> Training:
        """The training of the first anchor. Filters and scoring share it, so that no step is done twice."""
        return self.training(self.protocol.anchors[0])

    @cached_property
    def ascent(self) -> GradientAscent:
        """Gradient ascent on a fresh copy of the first anchor. The stages of the stability filter share it."""
        fresh = self.first if self.first.step == 0 else self.training(self.protocol.anchors[0])
        images, labels = (part[: self.protocol.stability_images] for part in fresh.batch(0))
        return GradientAscent(fresh.model, images, labels, self.protocol.stability_rate, self.protocol.stability_limit)

    def training(self, anchor: str, micro_batch: int | None = None) -> Training:
        """Start a new training of `anchor`; its batches are split into micro-batches of so many images, if given."""
        return Training(anchor, self.layer, self.data, self.protocol, micro_batch)
