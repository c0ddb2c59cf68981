"""What the compiled forms of a layer have in common, whatever they are compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from evonas.language.graph import Graph
from evonas.layers.build_clock import building
from evonas.layers.running_values import running_names

if TYPE_CHECKING:
    from torch import Tensor

    Parameters = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


NO_SECOND_DERIVATIVE = "kernels have no second derivative: use NormAct(..., backend='reference') there"


PARAMETERS = ("weight", "bias", "v0", "v1")
"""What a layer is called with beside x, in order: (c,), of any floating type; v0 and v1 where the layer has them."""


class Settings(NamedTuple):
    """What a layer knows beside its tensors; see `evonas.NormAct`."""

    groups: int
    eps: float
    momentum: float


class How(NamedTuple):
    """Which kernels a call takes.

    Attributes:
        backend: `triton` or `cpp`.
        graph: JSON of the layer before its affine.
        training: whether statistics over the batch are taken from the input.
        settings: of the layer.
    """

    backend: str
    graph: str
    training: bool
    settings: Settings


class CompiledLayer(Protocol):
    """One graph in one mode, for inputs of any shape.

    Attributes:
        running: names of running values, in the order of the graph's nodes.
        densities: names of the parameters that have a gradient.
    """

    @property
    def running(self) -> tuple[str, ...]: ...  # noqa: D102  # as above

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""

    def call(self, x: Tensor, parameters: Parameters, running: tuple[Tensor, ...], settings: Settings) -> Tensor | None:
        """The layer's value with its derivative, where something faster than Python sees to both; None where not.

        Args:
            x: as for `forward`.
            parameters: see `PARAMETERS`.
            running: running values in the order of `running`, which are updated in training.
            settings: of the layer.
        """

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value, and the numbers of planes and cells that its backward pass needs.

        Args:
            x: (b, c, h, w), contiguous or channels last.
            vectors: `weight` and `bias`, `v0` and `v1` where the layer has them, and running values, which are read
                in evaluation and updated in training; (c,), of any floating type.
            settings: of the layer.
        """

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of `x` and of the parameters; `dy` has the type and memory format of `x`."""


@lru_cache(maxsize=512)
def compiled_layer(backend: str, graph: str, training: bool) -> CompiledLayer:
    """A layer that a process compiles once; in both modes alike where it has no statistics over the batch.

    Args:
        backend: `triton` or `cpp`.
        graph: JSON of the layer before its affine.
        training: whether statistics over the batch are taken from the input.
    """
    with building():
        return _made(backend, graph, training)


def _made(backend: str, graph: str, training: bool) -> CompiledLayer:
    layer = Graph.from_json(graph)
    if not training and not running_names(layer):
        return compiled_layer(backend, graph, True)
    if backend == "triton":
        from evonas.kernels.triton.run import TritonLayer

        return TritonLayer(layer, training)
    from evonas.kernels.cpp.run import CppLayer

    return CppLayer(layer, training)
