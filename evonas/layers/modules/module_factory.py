"""`ModuleFactory`: places a layer that is no graph in a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import nn

from evonas.errors import unknown
from evonas.layers.modules.batch_channel_norm import BatchChannelNorm
from evonas.layers.modules.ibn import InstanceBatchNorm
from evonas.layers.modules.power_norm import PowerNorm
from evonas.layers.modules.rep_bn import PRepBN
from evonas.layers.modules.unified_norm import UnifiedNorm

CLASSES: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "powernorm": PowerNorm,
        "unified-norm": UnifiedNorm,
        "prepbn": PRepBN,
        "bcn": BatchChannelNorm,
        "ibn": InstanceBatchNorm,
    }
)
"""The classes of `evonas.layers.modules.module_names.MODULES`, called with the channels and where they are."""


@dataclass(frozen=True)
class ModuleFactory:
    """Builds a layer that is no graph at the positions of a network, as `LayerFactory` builds a graph.

    Attributes:
        name: a key of `CLASSES`.
        steps: of the training, for layers that change in its course.

    Raises:
        UsageError: there is no such layer.
    """

    name: str
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.name not in CLASSES:
            raise unknown("layer", self.name, CLASSES)

    def norm_act(self, channels: int) -> nn.Module:
        """Build the layer with ReLU."""
        return nn.Sequential(self._made(channels, 1), nn.ReLU())

    def norm(self, channels: int) -> nn.Module:
        """Build the layer."""
        return self._made(channels, 1)

    def tokens(self, channels: int) -> nn.Module:
        """Build the layer of tokens (b, ..., channels)."""
        return self._made(channels, -1)

    def _made(self, channels: int, dim: int) -> nn.Module:
        layer = CLASSES[self.name](channels, dim)
        if isinstance(layer, PRepBN):
            layer.steps = self.steps
        return layer
