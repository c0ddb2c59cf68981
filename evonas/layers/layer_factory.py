"""`LayerFactory`: the layers that a network has where it normalises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evonas.language.graph import Graph, X
from evonas.language.zoo import ROWS, as_graph, zoo
from evonas.layers.norm_act import NormAct

if TYPE_CHECKING:
    from torch import nn

AFFINE_ALONE = Graph((), X)
"""The graph that returns its input, so that the layer is its affine."""


@dataclass(frozen=True)
class LayerFactory:
    """Builds the layers of a network: one graph for every normalisation with an activation, one for every other.

    Attributes:
        graph: the layer of a position with normalisation and activation.
        linear: the layer of a position with normalisation alone, such as the projection of an inverted
            residual. By default the affine alone, as in the EvoNorm release.
        groups, eps, start: as in `NormAct`; `start` is for the first of the two.
    """

    graph: Graph
    linear: Graph = AFFINE_ALONE
    groups: int = 32
    eps: float = 1e-5
    start: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def published(name: str) -> LayerFactory:
        """A layer of the zoo, with the layer that its publication uses where there is no activation."""
        row = ROWS[name]
        linear = AFFINE_ALONE if row.linear_graph is None else row.linear_graph
        return LayerFactory(zoo[name], linear, start=row.start)

    @staticmethod
    def of(layer: Graph | str) -> LayerFactory:
        """The factory of a graph, of an expression, or of a published layer, which is placed as its publication says.

        Raises:
            UsageError: for text that is neither a published name nor an expression.
        """
        if isinstance(layer, str) and layer in ROWS:
            return LayerFactory.published(layer)
        return LayerFactory(as_graph(layer))

    def norm_act(self, channels: int) -> nn.Module:
        """The layer for a position with normalisation and activation."""
        return NormAct(self.graph, channels, self.groups, self.eps, start=self.start)

    def norm(self, channels: int) -> nn.Module:
        """The layer for a position with normalisation alone."""
        return NormAct(self.linear, channels, self.groups, self.eps)

    def tokens(self, channels: int) -> nn.Module:
        """The layer for a norm of a transformer, of tokens (b, ..., channels)."""
        return NormAct(self.graph, channels, self.groups, self.eps, start=self.start, dim=-1)
