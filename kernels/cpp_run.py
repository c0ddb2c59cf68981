"""Runs a layer's C++ kernels on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from evonas.graph import Graph
from evonas.kernels.compiled import Settings
from evonas.kernels.cpp_build import build
from evonas.kernels.cpp_source import COUNTS, POINTERS, REALS, Variant, cpp_source, kernels_of
from evonas.layer import running_names

WORTH_A_THREAD = 2**16
"""Values of x below which a thread costs more than it does, about 20 microseconds."""


class CppLayer:
    """The kernels of one graph in one mode, for inputs of any shape and memory format, in float32 and float64.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch are taken from it.

    Attributes:
        running: names of running values, in the order of the graph's nodes.
    """

    def __init__(self, graph: Graph, training: bool) -> None:
        self.graph, self.training = graph, training
        self.running = tuple(running_names(graph).values())
        self._kernels = kernels_of(graph, Variant(training))
        self._entries: dict[tuple[str, bool, bool], Any] = {}
        fields: list[tuple[str, Any]] = [(p, ctypes.c_void_p) for p in (*POINTERS, *map("{}_ptr".format, self.running))]
        fields += [(name, ctypes.c_longlong) for name in COUNTS] + [(name, ctypes.c_double) for name in REALS]
        self._call = type("Call", (ctypes.Structure,), {"_fields_": fields})

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """See `CompiledLayer`."""
        return self._kernels.stats.size(b, c, groups)

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """See `CompiledLayer`.

        Raises:
            BuildError: when the layer has to be built, and cannot be.
        """
        y = torch.empty_like(x)
        stats = x.new_empty(self.stats_size(x.shape[0], x.shape[1], settings.groups))
        own = {name: _as(value, x) for name, value in vectors.items()}
        self._run("forward", x, settings, own | {"y": y, "stats": stats})
        if self.training:
            for name in self.running:
                if own[name] is not vectors[name]:
                    vectors[name].copy_(own[name])
        return y, stats

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """See `CompiledLayer`."""
        b, c = x.shape[:2]
        names, dx = self._kernels.densities, torch.empty_like(x)
        gradients, densities = x.new_empty((len(names), c)), x.new_empty((len(names), b, c))
        totals = x.new_empty(self._kernels.sums.size(b, c, settings.groups))
        own = {name: _as(value, x) for name, value in vectors.items()}
        own |= {"dy": dy, "dx": dx, "stats": stats, "totals": totals, "densities": densities, "gradients": gradients}
        self._run("backward", x, settings, own)
        return {"x": dx, **dict(zip(names, gradients.unbind(), strict=True))}

    def _run(self, name: str, x: Tensor, settings: Settings, tensors: Mapping[str, Tensor]) -> None:
        b, c, h, w = x.shape
        # With planes of 1×1 both forms are the same, and channels make the longer vectors.
        entry = self._entry(name, h * w == 1 or not x.is_contiguous(), x.dtype == torch.float64)
        count = b * h * w
        call = self._call(
            x_ptr=x.data_ptr(),
            **{f"{name}_ptr": tensor.data_ptr() for name, tensor in tensors.items()},
            B=b,
            C=c,
            HW=h * w,
            G=settings.groups,
            eps=settings.eps,
            momentum=settings.momentum,
            unbias=count / (count - 1) if count > 1 else 1.0,
        )
        entry(ctypes.byref(call), min(torch.get_num_threads(), 1 + x.numel() // WORTH_A_THREAD))

    def _entry(self, name: str, channels_last: bool, double: bool) -> Any:
        key = (name, channels_last, double)
        if key not in self._entries:
            # In evaluation few ask for gradients, and the forward pass alone is built in a third of the time.
            variant = Variant(self.training, channels_last, double, backward=self.training or name == "backward")
            library = build(cpp_source(self.graph, variant))
            for entry in ("forward", "backward") if variant.backward else ("forward",):
                function = library[entry]
                function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_longlong]
                self._entries[(entry, channels_last, double)] = function
        return self._entries[key]


def _as(vector: Tensor, x: Tensor) -> Tensor:
    """A vector of the type of x, without gaps."""
    return vector.to(x.dtype).contiguous()
