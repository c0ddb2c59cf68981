"""What the compiled forms of a layer have in common, whatever they are compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.language.graph import Graph


def parameter_names(graph: Graph) -> tuple[str, ...]:
    """The parameters that a layer is called with in addition to x, in order.

    These are weight, bias, and the trained leaves of its graph. Each is (c,), of any floating type; a scalar is
    repeated for every channel, so that kernels need not tell scalars from vectors.
    """
    return ("weight", "bias", *(leaf.name for leaf in graph.parameters))


class Settings(NamedTuple):
    """The numbers that determine a layer, apart from its graph and its tensors.

    Attributes:
        groups: the number of groups of channels; it divides c.
        eps: as in `evonas.NormAct`.
        momentum: as in `evonas.NormAct`.
    """

    groups: int
    eps: float
    momentum: float


class KernelChoice(NamedTuple):
    """The kernels that a call runs, and the settings with which it runs them.

    Attributes:
        backend: `triton` or `cpp`.
        graph: the JSON of the layer before its affine.
        training: whether statistics over the batch are computed from the input.
        settings: the settings of the layer.
    """

    backend: str
    graph: str
    training: bool
    settings: Settings


class CompiledLayer(Protocol):
    """One graph in one mode, for inputs of any shape.

    Attributes:
        parameters: the names of the parameters, in the order of `parameter_names`.
        running: the names of running values, in the order of the graph's nodes.
    """

    @property
    def parameters(self) -> tuple[str, ...]: ...  # noqa: D102  # documented above

    @property
    def running(self) -> tuple[str, ...]: ...  # noqa: D102  # documented above

    def stats_size(self, x: Tensor, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""

    def call(
        self, x: Tensor, parameters: tuple[Tensor, ...], running: tuple[Tensor, ...], settings: Settings
    ) -> Tensor | None:
        """The layer's value with its derivative, if something faster than Python computes both; None otherwise.

        Args:
            x: as for `forward`.
            parameters: the parameters in the order of `parameters`.
            running: the running values in the order of `running`; training updates them in place.
            settings: the settings of the layer.
        """

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value, and the numbers of planes and cells that its backward pass needs.

        Args:
            x: (b, c, h, w), contiguous or channels last.
            vectors: by name, the parameters, and the running values, which are read in evaluation and updated in place
                in training; (c,), of any floating type.
            settings: the settings of the layer.
        """

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of `x` and of the parameters by name; `dy` has the type and memory format of `x`."""


class AddingLayer(Protocol):
    """The row kernels of one graph, as `evonas.AddNorm` calls them: they add a residual on the way.

    The inputs are (b, c, h, w) with channels last in memory.

    Attributes:
        parameters: the names of the parameters, in the order of `parameter_names`.
    """

    @property
    def parameters(self) -> tuple[str, ...]: ...  # noqa: D102  # documented above

    def forward_of_sum(
        self, x: Tensor, residual: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """The layer's value for r = x + residual, and r.

        Args:
            x, residual: of the same shape and memory format, and of the same type; to Triton's kernels types may
                differ, and then r and the value have the type of a sum of both.
            vectors: the parameters by name; (c,), of any floating type.
            settings: the settings of the layer.
        """

    def backward_of_sum(
        self, dy: Tensor, dr: Tensor | None, r: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of `x`, which is that of the residual too, and of the parameters by name.

        Args:
            dy, dr: the gradients of the value and of r, in the type and memory format of r; None for a dr of zeros.
            r: what `forward_of_sum` returned.
            vectors, settings: as for `forward_of_sum`.
        """
