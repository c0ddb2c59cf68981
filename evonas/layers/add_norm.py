"""`AddNorm`: a layer for a sum with a residual, which it returns as well."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from evonas.errors import EvonasError
from evonas.layers.backend import kernel_provider
from evonas.layers.backend_choice import LONGEST_ROW, TRITON_TYPES, choose_backend, give_up_kernels
from evonas.layers.norm_act import NormAct
from evonas.layers.planes import planes_as_tokens, tokens_as_planes

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.language.graph import Graph
    from evonas.layers.backend import AddingCall


class AddNorm(NormAct):
    """A layer behind the addition of a residual: ``y, r = layer(x, residual)``, r = x + residual and y = NormAct(r).

    In a transformer r is the residual of the next layer, and y is what the next sub-layer reads:

        y, residual = norm(attention(y), residual)

    Kernels of rows, which compute layers without statistics over positions, read x and the residual and write r and y:
    four times the size of x, where an addition and a layer of its own move five. The backward pass reads the gradients
    of y and of r and writes one gradient, which is that of x and of the residual. All other layers, and inputs that
    `NormAct` has PyTorch compute, are an addition and the layer.

    Parameters, buffers and their names are those of `NormAct`, so that either loads the state of the other.

    Args:
        graph, channels: as in `NormAct`.
        dim: where the channels are: -1, the last axis, as of the tokens (b, t, c) of a transformer, or 1.
        settings, named: the other arguments of `NormAct`.

    Raises:
        UsageError: for a graph that cannot be read or a number out of range.
    """

    def __init__(self, graph: Graph | str, channels: int, *settings: Any, dim: int = -1, **named: Any) -> None:
        super().__init__(graph, channels, *settings, dim=dim, **named)

    def forward(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]  # two inputs
        """The layer's value at x + residual, and that sum.

        Args:
            x: as for `NormAct`.
            residual: of the same shape; if the types differ, the results have the type of a sum of both.

        Raises:
            ValueError: for two shapes that differ, and for what `NormAct` does not take.
        """
        given: tuple[Any, ...] = (x, residual)
        proxy: Any = next((one for one in given if isinstance(one, fx.Proxy)), None)
        if proxy is not None:  # to torch.fx a layer is one node
            found = proxy.tracer.create_proxy("call_module", proxy.tracer.path_of_module(self), (x, residual), {})
            return found[0], found[1]
        if x.shape != residual.shape:
            raise ValueError(f"expected x and residual of one shape, got {tuple(x.shape)} and {tuple(residual.shape)}")
        return self._by_rows(x, residual) or self._by_both(x, residual)

    def _by_both(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """An addition, and the layer."""
        r = x + residual
        return super().forward(r), r

    def _by_rows(self, x: Tensor, residual: Tensor) -> tuple[Tensor, Tensor] | None:
        """Both results by kernels of rows; None where these do not compute the layer."""
        if not self._rows or x.dim() < 2 or x.shape[self.dim] != self.channels:
            return None
        if not (x.is_floating_point() and residual.is_floating_point()):
            return None
        if self.dim == -1:
            planes, added = tokens_as_planes(x), tokens_as_planes(residual)
        elif x.dim() == 4:
            planes, added = x, residual
        else:
            return None
        backend = choose_backend(self.backend, planes, self._computed, has_rows=True, only_rows=True)
        fit = x.dtype == residual.dtype
        if backend == "triton":  # which computes in float32
            fit = x.dtype in TRITON_TYPES and residual.dtype in TRITON_TYPES
        too_long = backend == "triton" and self.channels > LONGEST_ROW
        if backend not in self._rows or not fit or too_long or x.device != residual.device:
            return None
        if self.dim == -1:  # as kernels need it; tokens are copied only where they are not contiguous
            planes, added = (t.contiguous(memory_format=torch.channels_last) for t in (planes, added))
        elif not all(t.is_contiguous(memory_format=torch.channels_last) for t in (planes, added)):
            return None
        find = _bound.__wrapped__ if torch.compiler.is_compiling() else _bound
        try:
            y, r = find(backend, self._json, self._groups_used, self.eps)(planes, added, self._given(planes))
        except (EvonasError, OSError) as error:  # a compiler or the cache has gone since the last build
            if self.backend != "auto" or torch.compiler.is_compiling():
                raise
            give_up_kernels(error)
            return None
        return (planes_as_tokens(y, x), planes_as_tokens(r, x)) if self.dim == -1 else (y, r)


@lru_cache(maxsize=1024)
def _bound(backend: str, graph: str, groups: int, eps: float) -> AddingCall:
    """The kernels of a layer, bound to its settings once rather than at each call."""
    return kernel_provider().bind_adding(backend, graph, groups, eps)
