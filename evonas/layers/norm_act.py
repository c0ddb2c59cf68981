"""`NormAct`: a graph as a PyTorch module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from evonas.errors import EvonasError, UsageError, shorten
from evonas.language.autograd_functions import is_observed
from evonas.language.axes import Extent
from evonas.language.graph import Graph
from evonas.language.leaf import PARAMETERS
from evonas.language.primitive_table import PRIMITIVES, IndexSet, Moment
from evonas.language.zoo import ROWS, as_graph
from evonas.layers.backend import check_backend, kernel_provider
from evonas.layers.backend_choice import LONGEST_ROW, choose_backend, give_up_kernels
from evonas.layers.planes import RANKS, as_planes, planes_as_tokens, tokens_as_planes
from evonas.layers.reference import evaluate, groups_dividing, memory_format, raw_moment
from evonas.layers.running_values import running_names, starts, update
from evonas.layers.synchronised import WORLD, joint_moment, partners

if TYPE_CHECKING:
    from torch import Tensor

    from evonas.layers.backend import Call


_NAMES = ("weight", "bias", *(leaf.name for leaf in PARAMETERS))
"""Names of the parameters that a layer may have."""
_NEEDED = frozenset(_NAMES)


class NormAct(nn.Module):
    """A normalisation-activation layer: `weight * graph(x) + bias`, channel by channel.

    The input is (b, c, *positions) of any floating type and memory format, with up to three axes of positions:
    (b, c), as behind `nn.Linear`, sequences (b, c, l), images (b, c, h, w) and volumes (b, c, d, h, w). With `dim=-1`
    it is (b, *positions, c) of any rank from 2, such as the tokens (b, t, c) of a transformer. All positions of a
    channel are its plane. The output has the shape, type and memory format of the input. Values are computed in float32
    (float64 for float64 input).

    Statistics over the batch come from the batch in training and from running values in evaluation. Each
    keeps one buffer of shape (c,): `running_mean` (starts at 0), `running_var` (unbiased, as
    `nn.BatchNorm2d` keeps it; starts at 1) or `running_square` (starts at 1). The second and later buffers of
    one kind have a number appended, in the order of the graph's nodes.

    Args:
        graph: the layer; a graph, a name in the zoo or an expression.
        channels: c, at least 1.
        groups: number of groups of statistics over `whcg` and `cg`, lowered until it divides the channels.
        eps: between 0 and 1; it is added under square roots and logarithms, and divisors are clamped to it.
        momentum: weight of the newest batch in running values, between 0 and 1; None for their plain average over all
            batches so far, whose number is in the buffer `num_batches_tracked`, as in `nn.BatchNorm2d`.
        affine: whether to learn `weight` and `bias`.
        backend: `reference` for PyTorch, `triton` or `cpp` for kernels, or `auto` for kernels where an input allows
            them, on a CPU only once they are worth building; see `evonas.layers.backend_choice`.
        device, dtype: of parameters and buffers; PyTorch's defaults where not given.
        process_group: processes whose batches have their statistics in common, in training: a group of
            `torch.distributed`, or "world" for all; None for this process alone. The reference computes them.
        dim: where the channels are: 1, or -1 for the last axis.
        start: what parameters of the graph start at, by name, where that is not what their table says; a layer of the
            zoo that is given by name brings its own.

    Attributes:
        weight, bias: gamma, starting at 1, and beta, starting at 0; (c,); None without `affine`.
        v0, v1: the graph's vectors, starting at 0 and 1; (c,); only where the graph uses them.
        s0, s1: the graph's scalars, starting at 0 and 1; (); only where the graph uses them.

    Raises:
        UsageError: for a graph that cannot be read or a number out of range.
    """

    __jit_unused_properties__ = ("num_features",)

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    v0: nn.Parameter | None
    v1: nn.Parameter | None
    s0: nn.Parameter | None
    s1: nn.Parameter | None

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
        dim: int = 1,
        start: Mapping[str, float] | None = None,
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
        if isinstance(dim, bool) or dim not in (1, -1):
            raise UsageError(f"dim must be 1, for inputs (b, c, ...), or -1, for inputs (..., c), not {shorten(dim)}")
        check_backend(backend)
        channels, groups, eps = int(channels), int(groups), float(eps)  # from NumPy's numbers too
        self.graph, self.backend, self.process_group, self.dim = as_graph(graph), backend, process_group, dim
        self.start = _checked_start(graph, self.graph, start)
        self._load_kernels()
        if backend in ("triton", "cpp") and backend not in self._kernels:
            raise UsageError(
                f"backend {backend!r} has no kernels for {shorten(self.graph.written())}, because of its statistics "
                "over the channels at single positions; use backend 'auto', which has PyTorch compute it if need be"
            )
        self._json = self.graph.to_json()  # the form in which operators take a graph
        self.channels, self.groups, self.eps = channels, groups, eps
        self.momentum = None if momentum is None else float(momentum)
        self._groups_used = groups_dividing(channels, groups)
        self._computed = 0  # number of values that the reference has computed

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, device=device, dtype=dtype)

        for name in ("weight", "bias"):
            self.register_parameter(name, nn.Parameter(empty(channels)) if affine else None)
        for leaf in PARAMETERS:
            shape = (channels,) if leaf.extent is Extent.CHANNEL else ()
            is_used = leaf in self.graph.parameters
            self.register_parameter(leaf.name, nn.Parameter(empty(*shape)) if is_used else None)
        self._has_scalars = any(leaf.extent is Extent.NONE for leaf in self.graph.parameters)
        self._running = running_names(self.graph)
        for name in self._running.values():
            self.register_buffer(name, empty(channels))
        if self._running and momentum is None:
            self.register_buffer("num_batches_tracked", torch.empty((), dtype=torch.long, device=device))
        self.reset_parameters()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Of layers that were saved before these were there.
        before: dict[str, Any] = {"process_group": None, "dim": 1, "start": {}, "_has_scalars": False}
        super().__setstate__({**before, **state})  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._load_kernels()

    def _load_kernels(self) -> None:
        """Has kernels registered before the first call, which torch.compile may trace: it cannot trace an import."""
        asks = self.backend != "reference"
        self._kernels = kernel_provider().backends(self.graph) if asks else frozenset()
        self._takes_rows = asks and kernel_provider().takes_rows(self.graph)
        self._rows = kernel_provider().rows(self.graph) if asks else frozenset()
        self._has_rows = bool(self._rows)

    @property
    def num_features(self) -> int:
        """The number of channels, by the name that PyTorch's normalisations give it."""
        return self.channels

    def reset_parameters(self) -> None:
        """Sets parameters and running values to what they start at, as after a move from the meta device."""
        self.reset_running_stats()
        starts_at = {"weight": 1.0, "bias": 0.0, **{leaf.name: leaf.start for leaf in PARAMETERS}, **self.start}
        with torch.no_grad():
            for name, value in starts_at.items():
                parameter = getattr(self, name)
                if parameter is not None:
                    parameter.fill_(value)

    def reset_running_stats(self) -> None:
        """Sets running values to what they start at, and the number of batches that they have seen to 0."""
        with torch.no_grad():
            for name, start in starts(self.graph).items():
                self.get_buffer(name).fill_(start)
            self._batches = 0
            if "num_batches_tracked" in self._buffers:
                self.get_buffer("num_batches_tracked").zero_()

    def forward(self, x: Tensor) -> Tensor:
        """The layer's value at `x`, (b, c, *positions) with c = `channels`, or (b, *positions, c) where `dim` is -1.

        Raises:
            ValueError: for an input of a rank below 2, or above 5 unless `dim` is -1, or with another number of
                channels, or that is not floating-point.
        """
        if isinstance(x, fx.Proxy):  # to torch.fx a layer is one node, as PyTorch's own layers are
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})
        if self.dim == -1:
            return self._of_tokens(x)
        if x.dim() not in RANKS or x.shape[1] != self.channels:
            raise ValueError(
                f"expected an input of shape (b, {self.channels}), (b, {self.channels}, l), "
                f"(b, {self.channels}, h, w) or (b, {self.channels}, d, h, w), got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"expected a floating-point input, got {x.dtype}")
        return self._of_planes(x) if x.dim() == 4 else self._of_planes(as_planes(x)).reshape(x.shape)

    def _of_tokens(self, x: Tensor) -> Tensor:
        if x.dim() < 2 or x.shape[-1] != self.channels:
            raise ValueError(
                f"expected an input of shape (..., {self.channels}) with two axes or more, got {tuple(x.shape)}"
            )
        if not x.is_floating_point():
            raise ValueError(f"expected a floating-point input, got {x.dtype}")
        return planes_as_tokens(self._of_planes(tokens_as_planes(x)), x)

    def _of_planes(self, x: Tensor) -> Tensor:
        group = partners(self.process_group) if self.training and self._running else None
        if group is not None:
            backend = "reference"
        else:
            has, only = self._has_rows, self._takes_rows
            backend = choose_backend(self.backend, x, self._computed, has_rows=has, only_rows=only)
        too_long = self._takes_rows and self.channels > LONGEST_ROW and backend == "triton"
        if backend in self._kernels and not too_long:
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
            {leaf.name: getattr(self, leaf.name) for leaf in self.graph.parameters},
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
        parameters = self._given(x)
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
        if self._takes_rows and not x.is_contiguous(memory_format=torch.channels_last):
            y = call(x.contiguous(memory_format=torch.channels_last), parameters, running)
            y = y.contiguous(memory_format=memory_format(x))
        else:
            y = call(x, parameters, running)
        if running is not kept:
            share = self._weight_of_batch(x)
            for values, batch in zip(kept, running, strict=True):
                values.copy_((1 - share) * values + share * batch)
        return y

    def _given(self, x: Tensor) -> tuple[Tensor, ...]:
        """The parameters in the order in which kernels take them; what a layer lacks is filled in."""
        own: Any = self._parameters  # faster than attributes, which a module looks up in three places
        if not own.keys() >= _NEEDED:  # pruned, parametrised and replicated layers have them elsewhere
            own = {name: getattr(self, name) for name in _NAMES}
        weight = x.new_ones(self.channels) if own["weight"] is None else own["weight"]
        bias = x.new_zeros(self.channels) if own["bias"] is None else own["bias"]
        vectors = [own[leaf.name] for leaf in self.graph.parameters]
        if self._has_scalars:
            vectors = [vector.expand(self.channels).contiguous() for vector in vectors]
        return weight, bias, *vectors

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

    def _repr_html_(self) -> str:
        """The formula, the settings, and the shapes of the parameters, as a notebook shows them."""
        from evonas.language.graph_html import graph_html
        from evonas.notebook import paragraph

        shapes = [f"{name} {tuple(values.shape)}" for name, values in self.named_parameters()]
        learned = f"learns {', '.join(shapes)}" if shapes else "learns nothing"
        return graph_html(self.graph, paragraph(f"{type(self).__name__}, channels {self._settings()}; {learned}"))

    def extra_repr(self) -> str:
        """The graph and the settings, as `print(model)` shows them."""
        return f"{self.graph.written()}, {self._settings()}"

    def _settings(self) -> str:
        settings = f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"
        ops = [PRIMITIVES[n.op] for n in self.graph.nodes if n.args]
        if any(op.index_set in (IndexSet.WHCG, IndexSet.CG) for op in ops):
            settings += f", groups={self.groups}"
        settings += "" if self.dim == 1 else f", dim={self.dim}"
        settings += f", start={self.start}" if self.start else ""
        if self._running:
            settings += f", momentum={self.momentum}"
            settings += "" if self.process_group is None else ", synchronised"
        return settings


def _checked_start(layer: Graph | str, graph: Graph, start: object) -> dict[str, float]:
    """What parameters start at by name: what the zoo says of a layer, and what is given instead.

    Raises:
        UsageError: for what is no mapping from parameters of the graph to finite numbers.
    """
    given: dict[str, float] = dict(ROWS[layer].start) if isinstance(layer, str) and layer in ROWS else {}
    if start is None:
        return given
    if not isinstance(start, Mapping):
        raise UsageError(f"start must be a mapping from parameters to numbers, not {shorten(start)}")
    known = [leaf.name for leaf in graph.parameters]
    for name, value in start.items():
        if name not in known:
            raise UsageError(
                f"start names {shorten(name)}; the parameters of this layer are: {', '.join(known) or 'none'}"
            )
        if not isinstance(value, Real) or isinstance(value, bool) or not isfinite(value):
            raise UsageError(f"start of {name} must be a finite number, not {shorten(value)}")
        given[name] = float(value)
    return given


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
