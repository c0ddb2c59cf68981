"""A candidate on trial: its networks, built and trained as far as its judges ask."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from evonas.workers.training import Training

if TYPE_CHECKING:
    from evonas.layer import LayerFactory
    from evonas.protocol import Protocol
    from evonas.workers.data import DataSet


@dataclass(frozen=True)
class Trial:
    """One layer under one protocol.

    Attributes:
        layer: what goes into the anchors.
        protocol: how they are trained.
        data: what they are trained on.
    """

    layer: LayerFactory
    protocol: Protocol
    data: DataSet

    @cached_property
    def first(self) -> Training:
        """The training of the first anchor, which filters and scoring share, so that no step is done twice."""
        return self.training(self.protocol.anchors[0])

    def training(self, anchor: str) -> Training:
        """A new training of `anchor`."""
        return Training(anchor, self.layer, self.data, self.protocol)
