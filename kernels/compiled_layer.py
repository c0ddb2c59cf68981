"""What the compiled forms of a layer have in common, whatever they are compiled to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    Parameters = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


PARAMETERS = ("weight", "bias", "v0", "v1")
"""The parameters that a layer is called with in addition to x, in order. Each is (c,), of any floating type; v0 and v1
are None if the layer does not use them."""


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
        running: the names of running values, in the order of the graph's nodes.
    """

    @property
    def running(self) -> tuple[str, ...]: ...  # noqa: D102  # documented above

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""

    def call(self, x: Tensor, parameters: Parameters, running: tuple[Tensor, ...], settings: Settings) -> Tensor | None:
        """The layer's value with its derivative, if something faster than Python computes both; None otherwise.

        Args:
            x: as for `forward`.
            parameters: the parameters in the order of `PARAMETERS`.
            running: the running values in the order of `running`; training updates them in place.
            settings: the settings of the layer.
        """

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value, and the numbers of planes and cells that its backward pass needs.

        Args:
            x: (b, c, h, w), contiguous or channels last.
            vectors: by name, `weight` and `bias`, `v0` and `v1` if the layer uses them, and the running values, which
                are read in evaluation and updated in place in training; (c,), of any floating type.
            settings: the settings of the layer.
        """

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of `x` and of the parameters by name; `dy` has the type and memory format of `x`."""
