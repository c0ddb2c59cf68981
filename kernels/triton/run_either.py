"""Runs a layer that can be computed by planes or by rows: the kernels follow from how its input lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evonas.kernels.compiled_layer import Settings
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.run_rows import TritonRowLayer
from evonas.language.graph import Graph
from evonas.layers.backend_choice import goes_by_rows

if TYPE_CHECKING:
    from torch import Tensor


class TritonEitherLayer:
    """The kernels of one graph without statistics of its input, for inputs of any shape, type and memory format.

    Args:
        graph: the layer before its affine.
        training: whether the layer is in training.

    Attributes:
        planes, rows: its kernels of either kind.
        parameters: the names of the parameters, in the order of `parameter_names`.
        running: none.
    """

    running: tuple[str, ...] = ()

    def __init__(self, graph: Graph, training: bool) -> None:
        self.planes, self.rows = TritonLayer(graph, training), TritonRowLayer(graph)
        self.parameters = self.rows.parameters

    def _kernels(self, x: Tensor) -> TritonLayer | TritonRowLayer:
        return self.rows if goes_by_rows(x) else self.planes

    def stats_size(self, x: Tensor, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""
        return self._kernels(x).stats_size(x, groups)

    def call(self, *_: object) -> None:
        """Returns None: nothing faster than Python launches Triton's kernels."""

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value, and the numbers that its backward pass needs."""
        return self._kernels(x).forward(x, vectors, settings)

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of x, in its type, and of the parameters, in float32."""
        return self._kernels(x).backward(dy, x, stats, vectors, settings)
