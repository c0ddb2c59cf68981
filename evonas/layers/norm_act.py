"""`NormAct`: a graph as a PyTorch module."""

from __future__ import annotations

from functools import lru_cache, partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from evonas.errors import EvonasError, UsageError, shorten
from evonas.language.autograd_functions import is_observed
from evonas.language.graph import INPUTS, V0, V1, Graph
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.language.zoo import as_graph
from evonas.layers.backend import check_backend, kernel_provider
from evonas.layers.backend_choice import choose_backend, give_up_kernels
from evonas.layers.planes import RANKS, as_planes
from evonas.layers.reference import evaluate, groups_dividing, memory_format, raw_moment
from evonas.layers.running_values import running_names, starts, update
from evonas.layers.synchronised import WORLD, joint_moment, partners

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.layers.backend import Call


_STARTS = {"weight": 1.0, "bias": 0.0, "v0": 0.0, "v1": 1.0}
"""What each parameter starts at."""


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
        momentum: weight of the newest batch in running values, between 0 and 1; None for their plain average over all
            batches so far, whose number is in the buffer `num_batches_tracked`, as in `nn.BatchNorm2d`.
        affine: whether to learn `weight` and `bias`.
        backend: `reference` for PyTorch, `triton` or `cpp` for kernels, or `auto` for kernels where an input allows
            them, on a CPU only once they are worth building; see `evonas.layers.backend_choice`.
        device, dtype: of parameters and buffers; PyTorch's defaults where not given.
        process_group: processes whose batches have their statistics in common, in training: a group of
            `torch.distributed`, or "world" for all; None for this process alone. The reference computes them.

    Attributes:
        weight, bias: gamma, starting at 1, and beta, starting at 0; (c,); None without `affine`.
        v0, v1: the graph's trainable inputs, starting at 0 and 1; (c,); only where the graph uses them.

    Raises:
        UsageError: for a graph that cannot be read or a number out of range.
    """

    __jit_unused_properties__ = ("num_features",)

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
        momentum: float | None = 0.1,
        affine: bool = True,
        *,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__()
        given: dict[str, Any] = {"channels": channels, "groups": groups, "eps": eps, "momentum": momentum}
        for name, number in (("channels", given["channels"]), ("groups", given["groups"])):
            if not isinstance(number, Integral) or isinstance(number, bool) or number < 1:
                raise UsageError(f"{name} must be an integer >= 1, not {shorten(number)}")
        if not isinstance(given["eps"], Real) or not 0.0 < eps < 1.0:
            raise UsageError(f"eps must be a small positive number, not {shorten(eps)}")
        if momentum is not None and (not isinstance(given["momentum"], Real) or not 0.0 <= momentum <= 1.0):
            raise UsageError(f"momentum must be between 0 and 1, or None, not {shorten(momentum)}")
        if isinstance(process_group, str) and process_group != WORLD:
            raise UsageError(
                f"process_group must be a group of torch.distributed or 'world', not {shorten(process_group)}"
            )
        check_backend(backend)
        channels, groups, eps = int(channels), int(groups), float(eps)  # from NumPy's numbers too
        self.graph, self.backend, self.process_group = as_graph(graph), backend, process_group
        self._load_kernels()
        self._json = self.graph.to_json()  # the form in which operators take a graph
        self.channels, self.groups, self.eps = channels, groups, eps
        self.momentum = None if momentum is None else float(momentum)
        self._groups_used = groups_dividing(channels, groups)
        self._computed = 0  # number of values that the reference has computed

        def vector() -> Tensor:
            return torch.empty(channels, device=device, dtype=dtype)

        has = {"weight": affine, "bias": affine, **{INPUTS[node]: node in self.graph.live for node in (V0, V1)}}
        for name in _STARTS:
            self.register_parameter(name, nn.Parameter(vector()) if has[name] else None)
        self._running = running_names(self.graph)
        for name in self._running.values():
            self.register_buffer(name, vector())
        if self._running and momentum is None:
            self.register_buffer("num_batches_tracked", torch.empty((), dtype=torch.long, device=device))
        self.reset_parameters()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"process_group": None, **state})  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._load_kernels()

    def _load_kernels(self) -> None:
        """Has kernels registered before the first call, which torch.compile may trace: it cannot trace an import."""
        if self.backend != "reference":
            kernel_provider()

    @property
    def num_features(self) -> int:
        """The number of channels, by the name that PyTorch's normalisations give it."""
        return self.channels

    def reset_parameters(self) -> None:
        """Sets parameters and running values to what they start at, as after a move from the meta device."""
        self.reset_running_stats()
        with torch.no_grad():
            for name, start in _STARTS.items():
                parameter = getattr(self, name)
                if parameter is not None:
                    parameter.fill_(start)

    def reset_running_stats(self) -> None:
        """Sets running values to what they start at, and the number of batches that they have seen to 0."""
        with torch.no_grad():
            for name, start in starts(self.graph).items():
                self.get_buffer(name).fill_(start)
            self._batches = 0
            if "num_batches_tracked" in self._buffers:
                self.get_buffer("num_batches_tracked").zero_()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's value at `x`, (b, c, *positions) with c = `channels`.

        Raises:
            ValueError: for an input of a rank below 2 or above 5 or another number of channels, or that is not
                floating-point.
        """
        if isinstance(x, fx.Proxy):  # to torch.fx a layer is one node, as PyTorch's own layers are
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
        if x.dim() not in RANKS or x.shape[1] != self.channels:
            raise ValueError(
                f"expected an input of shape (b, {self.channels}), (b, {self.channels}, l), "
                f"(b, {self.channels}, h, w) or (b, {self.channels}, d, h, w), got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"expected a floating-point input, got {x.dtype}")
        return self._of_planes(x) if x.dim() == 4 else self._of_planes(as_planes(x)).reshape(x.shape)

    def _of_planes(self, x: Tensor) -> Tensor:
        group = partners(self.process_group) if self.training and self._running else None
        backend = "reference" if group is not None else choose_backend(self.backend, x, self._computed)
        if backend != "reference":
            if self.backend != "auto" or torch.compiler.is_compiling():
                return self._by_kernels(backend, x)
            try:
                return self._by_kernels(backend, x)
            except (EvonasError, OSError) as error:  # a compiler or the cache has gone since the last build
                give_up_kernels(error)
        if not (torch.compiler.is_compiling() or is_observed()):
            self._computed += x.numel()
        count = x.numel() // self.channels
        momentum = self._weight_of_batch(x)
        y = evaluate(
            self.graph,
            x,
            x.new_zeros(self.channels) if self.v0 is None else self.v0,
            x.new_ones(self.channels) if self.v1 is None else self.v1,
            groups=self.groups,
            eps=self.eps,
            batch_statistic=partial(self._batch_statistic, count, momentum, group),
        )
        if self.weight is not None and self.bias is not None:
            weight, bias = (p.to(y.dtype).view(1, -1, 1, 1) for p in (self.weight, self.bias))
            y = torch.addcmul(bias, y, weight)
        # A graph that does not vary over every axis is an expanded view up to here.
        return y.to(x.dtype).contiguous(memory_format=memory_format(x))

    def _by_kernels(self, backend: str, x: Tensor) -> Tensor:
        own: Any = self._parameters  # faster than attributes, which a module looks up in three places
        if not own.keys() >= _STARTS.keys():  # pruned, parametrised and replicated layers have them elsewhere
            own = {name: getattr(self, name) for name in _STARTS}
        weight = x.new_ones(self.channels) if own["weight"] is None else own["weight"]
        bias = x.new_zeros(self.channels) if own["bias"] is None else own["bias"]
        buffers: Any = self._buffers
        running = tuple([buffers[name] for name in self._running.values()])
        kept, momentum = running, self.momentum
        if momentum is None:
            # Kernels are bound to a momentum: with 1 they give the values of the batch, which are averaged below.
            momentum = 1.0
            if self.training:
                running = tuple([values.clone() for values in kept])
        # torch.compile warns of functions with a cache, and traces the one below.
        find = _bound.__wrapped__ if torch.compiler.is_compiling() else _bound
        call = find(backend, self._json, self.training, self._groups_used, self.eps, momentum)
        y = call(x, weight, bias, own["v0"], own["v1"], running)
        if running is not kept:
            share = self._weight_of_batch(x)
            for values, batch in zip(kept, running, strict=True):
                values.copy_((1 - share) * values + share * batch)
        return y

    def __prepare_scriptable__(self) -> nn.Module:
        """The layer in the form that torch.jit.script compiles; it is itself again from its next call on."""
        return kernel_provider().scriptable(self)

    def _weight_of_batch(self, x: Tensor) -> float | Tensor:
        """The weight of this batch in running values; without a momentum, one over the number of batches so far."""
        if self.momentum is not None:
            return self.momentum
        if not (self.training and self._running and x.numel()):
            return 0.0
        counted = self._buffers.get("num_batches_tracked")
        if counted is not None:
            counted.add_(1)
            return 1.0 / counted.double()
        self._batches += 1
        return 1.0 / self._batches

    def _batch_statistic(
        self, count: int, momentum: float | Tensor, group: Any, node: int, moment: Moment, value: Tensor
    ) -> Tensor:
        """The raw moment over (b, h, w) of a node's argument, which has `count` values in each channel.

        In training it is that of the batch, or of the batches of a group of processes, and the running value is
        updated; in evaluation it is the running value.
        """
        running = self.get_buffer(self._running[node])
        if not self.training:
            return running.to(value.dtype).view(1, -1, 1, 1)
        if group is None:
            raw = raw_moment(moment, IndexSet.BWH, value, groups=1)
        else:
            raw, total = joint_moment(moment, value, count, group)
            count = int(total)
        update(running, raw, moment, count, momentum)
        return raw

    def extra_repr(self) -> str:
        """The graph and the settings, as `print(model)` shows them."""
        settings = f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"
        if any(PRIMITIVES[n.op].index_set is IndexSet.WHCG for n in self.graph.nodes):
            settings += f", groups={self.groups}"
        if self._running:
            settings += f", momentum={self.momentum}"
            settings += "" if self.process_group is None else ", synchronised"
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
