"""Runs a layer's C++ kernels on tensors."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from evonas.graph import Graph
from evonas.kernels.compiled import Settings
from evonas.kernels.cpp_build import build
from evonas.kernels.cpp_source import COUNTS, POINTERS, REALS, Variant, cpp_source, kernels_of
from evonas.layer import running_names

WORTH_A_THREAD = 2**16
"""Values of x for each thread, below which a thread costs more than it does, about 20 microseconds."""
_SHAPES_KNOWN = 256
_NONE: Mapping[str, int] = {}


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
        self._pointers = [name.removesuffix("_ptr") for name in POINTERS] + list(self.running)
        fields: list[tuple[str, Any]] = [(name, ctypes.c_void_p) for name in self._pointers]
        fields += [(name, ctypes.c_longlong) for name in COUNTS] + [(name, ctypes.c_double) for name in REALS]
        self._call = type("Call", (ctypes.Structure,), {"_fields_": fields})
        self._sizes = lru_cache(_SHAPES_KNOWN)(self._sizes_of)

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """See `CompiledLayer`."""
        return self._sizes(b, c, groups)[0]

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """See `CompiledLayer`.

        Raises:
            BuildError: when the layer has to be built, and cannot be.
        """
        b, c, _, _ = x.shape
        y, stats = torch.empty_like(x), x.new_empty(self._sizes(b, c, settings.groups)[0])
        own = {name: _as(value, x) for name, value in vectors.items()}
        self._run("forward", x, settings, own | {"x": x, "y": y, "stats": stats})
        if self.training:
            for name in self.running:
                if own[name] is not vectors[name]:
                    vectors[name].copy_(own[name])
        return y, stats

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """See `CompiledLayer`."""
        b, c, _, _ = x.shape
        names, dx = self._kernels.densities, torch.empty_like(x)
        count = len(names)
        # One buffer: the gradients, what the backward pass finds on its way, and the gradients of every plane.
        totals = self._sizes(b, c, settings.groups)[1]
        buffer = x.new_empty(count * c + totals + count * b * c)
        start, size = buffer.data_ptr(), x.element_size()
        own = {name: _as(value, x) for name, value in vectors.items()} | {"x": x, "dy": dy, "dx": dx, "stats": stats}
        places = {
            "gradients": start,
            "totals": start + count * c * size,
            "densities": start + (count * c + totals) * size,
        }
        self._run("backward", x, settings, own, places)
        return {"x": dx, **dict(zip(names, buffer[: count * c].view(count, c).unbind(), strict=True))}

    def _sizes_of(self, b: int, c: int, groups: int) -> tuple[int, int]:
        return self._kernels.stats.size(b, c, groups), self._kernels.sums.size(b, c, groups)

    def _run(
        self, name: str, x: Tensor, settings: Settings, tensors: Mapping[str, Tensor], places: Mapping[str, int] = _NONE
    ) -> None:
        b, c, h, w = x.shape
        positions = h * w
        # With planes of 1×1 both forms are the same, and channels make the longer vectors.
        key = (name, positions == 1 or not x.is_contiguous(), x.dtype == torch.float64)
        entry = self._entries.get(key) or self._built(*key)
        pointers = {name: tensor.data_ptr() for name, tensor in tensors.items()}
        pointers.update(places)
        count = b * positions
        unbias = count / (count - 1) if count > 1 else 1.0
        # In the order of the fields, which is faster than by their names.
        call = self._call(*map(pointers.get, self._pointers), b, c, positions, *settings, unbias)
        threads = torch.get_num_threads() if count * c >= WORTH_A_THREAD else 1
        entry(ctypes.byref(call), min(threads, 1 + count * c // WORTH_A_THREAD))

    def _built(self, name: str, channels_last: bool, double: bool) -> Any:
        # In evaluation few ask for gradients, and the forward pass alone is built in a third of the time.
        variant = Variant(self.training, channels_last, double, backward=self.training or name == "backward")
        library = build(cpp_source(self.graph, variant))
        for entry in ("forward", "backward") if variant.backward else ("forward",):
            function = library[entry]
            function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_longlong]
            self._entries[(entry, channels_last, double)] = function
        return self._entries[(name, channels_last, double)]


def _as(vector: Tensor, x: Tensor) -> Tensor:
    """A vector of the type of x, without gaps."""
    return vector if vector.dtype == x.dtype and vector.is_contiguous() else vector.to(x.dtype).contiguous()
