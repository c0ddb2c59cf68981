"""`LayerFactory`: which layers a network has where it normalises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evonas.language.graph import Graph, X
from evonas.language.zoo import ROWS, as_graph, zoo
from evonas.layers.norm_act import NormAct

if TYPE_CHECKING:
    from torch import nn

AFFINE_ALONE = Graph((), X)
"""The graph that hands its input through, so that the layer is its affine."""


@dataclass(frozen=True)
class LayerFactory:
    """Builds the layers of a network: one graph wherever there is a normalisation with an activation.

    Attributes:
        graph: the layer of a position with normalisation and activation.
        linear: the layer of a position with normalisation alone, such as the projection of an inverted
            residual. By default the affine alone, as in the EvoNorm release.
        groups, eps: as in `NormAct`.
    """

    graph: Graph
    linear: Graph = AFFINE_ALONE
    groups: int = 32
    eps: float = 1e-5

    @staticmethod
    def published(name: str) -> LayerFactory:
        """A layer of the zoo with what its publication puts where there is no activation."""
        row = ROWS[name]
        return LayerFactory(zoo[name], AFFINE_ALONE if row.linear_graph is None else row.linear_graph)

    @staticmethod
    def of(layer: Graph | str) -> LayerFactory:
        """A published layer, by its name, as its publication places it; any other as `as_graph` reads it.

        Raises:
            UsageError: for text that is neither a name nor an expression.
        """
        if isinstance(layer, str) and layer in ROWS:
            return LayerFactory.published(layer)
        return LayerFactory(as_graph(layer))

    def norm_act(self, channels: int) -> nn.Module:
        """The layer for a position with normalisation and activation."""
        return NormAct(self.graph, channels, self.groups, self.eps)

    def norm(self, channels: int) -> nn.Module:
        """The layer for a position with normalisation alone."""
        return NormAct(self.linear, channels, self.groups, self.eps)
