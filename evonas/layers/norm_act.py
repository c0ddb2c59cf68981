"""`NormAct`: a graph as a PyTorch module."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from evonas.errors import UsageError, shorten
from evonas.language.graph import INPUTS, V0, V1, Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.language.zoo import as_graph
from evonas.layers.backend import check_backend, kernel_provider
from evonas.layers.backend_choice import choose_backend
from evonas.layers.planes import RANKS, as_planes
from evonas.layers.reference import evaluate, groups_dividing, memory_format, raw_moment
from evonas.layers.running_values import running_names, starts, update

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.layers.backend import Call


class NormAct(nn.Module):
    """A normalisation-activation layer: `weight * graph(x) + bias`, channel by channel.

    The input is (b, c, *positions) of any floating type and memory format, with up to three axes of positions:
    (b, c), as behind `nn.Linear`, sequences (b, c, l), images (b, c, h, w) and volumes (b, c, d, h, w). All positions
    of a channel are its plane. The output has the shape, type and memory format of the input. Values are computed in
    float32 (float64 for float64 input).

    Statistics over the batch come from the batch in training and from running values in evaluation. Each
    keeps one buffer of shape (c,): `running_mean` (starts at 0), `running_var` (unbiased, as
    `nn.BatchNorm2d` keeps it; starts at 1) or `running_square` (starts at 1). The second and later buffers of
    one kind have a number appended, in the order of the graph's nodes.

    Args:
        graph: the layer; a graph, a name in the zoo or an expression.
        channels: c, at least 1.
        groups: number of groups of statistics over `whcg`, lowered until it divides the channels.
        eps: between 0 and 1; it is added under square roots and logarithms, and divisors are clamped to it.
        momentum: weight of the newest batch in running values, between 0 and 1.
        affine: whether to learn `weight` and `bias`.
        backend: `reference` for PyTorch, `triton` or `cpp` for kernels, or `auto` for kernels where an input allows
            them, on a CPU only once they are worth building; see `evonas.layers.backend_choice`.
        device, dtype: of parameters and buffers; PyTorch's defaults where not given.

    Attributes:
        weight, bias: gamma, starting at 1, and beta, starting at 0; (c,); None without `affine`.
        v0, v1: the graph's trainable inputs, starting at 0 and 1; (c,); only where the graph uses them.

    Raises:
        UsageError: for a graph that cannot be read or a number out of range.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    v0: nn.Parameter | None
    v1: nn.Parameter | None

    def __init__(
        self,
        graph: Graph | str,
        channels: int,
        groups: int = 32,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        *,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, number in (("channels", channels), ("groups", groups)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise UsageError(f"{name} must be an integer >= 1, not {shorten(number)}")
        if not isinstance(eps, int | float) or not 0.0 < eps < 1.0:
            raise UsageError(f"eps must be a small positive number, not {shorten(eps)}")
        if not isinstance(momentum, int | float) or not 0.0 <= momentum <= 1.0:
            raise UsageError(f"momentum must be between 0 and 1, not {shorten(momentum)}")
        check_backend(backend)
        self.graph, self.backend = as_graph(graph), backend
        self._load_kernels()
        self._json = self.graph.to_json()  # the form in which operators take a graph
        self.channels, self.groups, self.eps, self.momentum = channels, groups, eps, momentum
        self._groups_used = groups_dividing(channels, groups)
        self._computed = 0  # number of values that the reference has computed

        def vector(value: float) -> Tensor:
            return torch.full((channels,), value, device=device, dtype=dtype)

        self.register_parameter("weight", nn.Parameter(vector(1.0)) if affine else None)
        self.register_parameter("bias", nn.Parameter(vector(0.0)) if affine else None)
        for node, start in ((V0, 0.0), (V1, 1.0)):
            used = node in self.graph.live
            self.register_parameter(INPUTS[node], nn.Parameter(vector(start)) if used else None)
        self._running = running_names(self.graph)
        for name, start in starts(self.graph).items():
            self.register_buffer(name, vector(start))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._load_kernels()

    def _load_kernels(self) -> None:
        """Has kernels registered before the first call, which torch.compile may trace: it cannot trace an import."""
        if self.backend != "reference":
            kernel_provider()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's value at `x`, (b, c, *positions) with c = `channels`.

        Raises:
            ValueError: for an input of a rank below 2 or above 5 or another number of channels, or that is not
                floating-point.
        """
        if x.dim() not in RANKS or x.shape[1] != self.channels:
            raise ValueError(
                f"expected an input of shape (b, {self.channels}), (b, {self.channels}, l), "
                f"(b, {self.channels}, h, w) or (b, {self.channels}, d, h, w), got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"expected a floating-point input, got {x.dtype}")
        return self._of_planes(x) if x.dim() == 4 else self._of_planes(as_planes(x)).reshape(x.shape)

    def _of_planes(self, x: Tensor) -> Tensor:
        backend = choose_backend(self.backend, x, self._computed)
        if backend != "reference":
            return self._by_kernels(backend, x)
        if not torch.compiler.is_compiling():
            self._computed += x.numel()
        count = x.numel() // self.channels
        y = evaluate(
            self.graph,
            x,
            x.new_zeros(self.channels) if self.v0 is None else self.v0,
            x.new_ones(self.channels) if self.v1 is None else self.v1,
            groups=self.groups,
            eps=self.eps,
            batch_statistic=partial(self._batch_statistic, count),
        )
        if self.weight is not None and self.bias is not None:
            weight, bias = (p.to(y.dtype).view(1, -1, 1, 1) for p in (self.weight, self.bias))
            y = torch.addcmul(bias, y, weight)
        # A graph that does not vary over every axis is an expanded view up to here.
        return y.to(x.dtype).contiguous(memory_format=memory_format(x))

    def _by_kernels(self, backend: str, x: Tensor) -> Tensor:
        own = self._parameters  # faster than attributes, which a module looks up in three places
        buffers: Any = self._buffers
        weight = x.new_ones(self.channels) if own["weight"] is None else own["weight"]
        bias = x.new_zeros(self.channels) if own["bias"] is None else own["bias"]
        running = tuple([buffers[name] for name in self._running.values()])
        # torch.compile warns of functions with a cache, and traces the one below.
        find = _bound.__wrapped__ if torch.compiler.is_compiling() else _bound
        call = find(backend, self._json, self.training, self._groups_used, self.eps, self.momentum)
        return call(x, weight, bias, own["v0"], own["v1"], running)

    def _batch_statistic(self, count: int, node: int, moment: Moment, value: Tensor) -> Tensor:
        """The raw moment over (b, h, w) of a node's argument, which has `count` values in each channel.

        In training it is that of the batch, and the running value is updated; in evaluation it is the running value.
        """
        running = self.get_buffer(self._running[node])
        if not self.training:
            return running.to(value.dtype).view(1, -1, 1, 1)
        raw = raw_moment(moment, IndexSet.BWH, value, groups=1)
        update(running, raw, moment, count, self.momentum)
        return raw

    def extra_repr(self) -> str:
        """The graph and the settings, as `print(model)` shows them."""
        settings = f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"
        if any(PRIMITIVES[n.op].index_set is IndexSet.WHCG for n in self.graph.nodes):
            settings += f", groups={self.groups}"
        if self._running:
            settings += f", momentum={self.momentum}"
        return f"{self.graph.written()}, {settings}"


def computed_by(network: nn.Module, backend: str) -> None:
    """Sets the backend of every `NormAct` of a network.

    Args:
        network: the network, changed in place.
        backend: one of `evonas.layers.backend.BACKENDS`; it is not checked.
    """
    for module in network.modules():
        if isinstance(module, NormAct):
            module.backend = backend
            module._load_kernels()


@lru_cache(maxsize=1024)
def _bound(backend: str, graph: str, training: bool, groups: int, eps: float, momentum: float) -> Call:
    """The kernels of a layer, bound to its settings once rather than at each call."""
    return kernel_provider().bind(backend, graph, training, groups, eps, momentum)
