"""Runs a layer's C++ kernels on tensors."""

from __future__ import annotations

import ctypes
import struct
import weakref
from _ctypes import dlclose
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from evonas.kernels.compiled_layer import PARAMETERS, Settings
from evonas.kernels.cpp.build import build, loaded
from evonas.kernels.cpp.calls import Calls, calls
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.cpp.source import COUNTS, POINTERS, REALS, Variant, cpp_source, kernels_of
from evonas.language.graph import Graph
from evonas.layers.build_clock import building
from evonas.layers.running_values import running_names

if TYPE_CHECKING:
    from evonas.kernels.compiled_layer import Parameters

WORTH_A_THREAD = 2**16
"""Values of x for each thread, below which a thread costs more than it does, about 20 microseconds."""
GATHERED_BELOW = 16
"""Positions of a plane, below which those of several planes make a vector."""
_FORMS_KNOWN = 1024
_NOWHERE = 0


class InputForm(NamedTuple):
    """What follows from the shape, memory format and type of an input.

    Attributes:
        layout: whose kernels are taken.
        double: whether kernels for float64 are.
        counts: b, c and h·w.
        unbias: from the biased variance over the batch to the unbiased one.
        threads: how many are worth starting.
        stats, totals: numbers that the forward pass leaves, and that the backward pass finds on its way.
    """

    layout: MemoryLayout
    double: bool
    counts: tuple[int, int, int]
    unbias: float
    threads: int
    stats: int
    totals: int


class CppLayer:
    """The kernels of one graph in one mode, for inputs of any shape and memory format, in float32 and float64.

    On small tensors what Python does here counts: see `python -m benchmarks.call_cost`.

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
        self._entries: dict[tuple[str, MemoryLayout, bool], Any] = {}
        self._given = ("v0", "v1", "weight", "bias", *self.running)
        pointers = len(POINTERS) + len(self.running)
        self._pack = struct.Struct(f"{pointers}P{len(COUNTS)}q{len(REALS)}d").pack  # `Call`, whose fields have 8 bytes
        self._form = lru_cache(_FORMS_KNOWN)(self._form_of)
        self._handle = lru_cache(_FORMS_KNOWN)(self._handle_of)

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """See `CompiledLayer`."""
        return self._kernels.stats.size(b, c, groups)

    def call(self, x: Tensor, parameters: Parameters, running: tuple[Tensor, ...], settings: Settings) -> Tensor | None:
        """See `CompiledLayer`.

        Raises:
            BuildError: when the layer has to be built, and cannot be.
        """
        by = calls()
        # In evaluation few ask for gradients, and the backward pass is built when one does.
        if by is None or (torch.is_grad_enabled() and not self.training):
            return None
        handle = self._handle(by, x.shape, x.is_contiguous(), x.dtype, settings)
        return by.norm_act(x, *parameters, running, handle.number)

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """See `CompiledLayer`.

        Raises:
            BuildError: when the layer has to be built, and cannot be.
        """
        form = self._form(x.shape, x.is_contiguous(), x.dtype, settings.groups)
        y, stats = torch.empty_like(x), x.new_empty(form.stats)
        own = {name: _as(value, x) for name, value in vectors.items()}
        self._run("forward", form, settings, own, (x.data_ptr(), _NOWHERE, y.data_ptr(), _NOWHERE), (stats.data_ptr(),))
        if self.training:
            for name in self.running:
                if own[name] is not vectors[name]:
                    vectors[name].copy_(own[name])
        return y, stats

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """See `CompiledLayer`."""
        form = self._form(x.shape, x.is_contiguous(), x.dtype, settings.groups)
        names, (b, c, _), dx = self._kernels.densities, form.counts, torch.empty_like(x)
        gradients = x.new_empty((len(names), c))
        found = x.new_empty(form.totals + len(names) * b * c)  # the totals, and the gradients of every plane
        own = {name: _as(value, x) for name, value in vectors.items()}
        tensors = (x.data_ptr(), dy.data_ptr(), _NOWHERE, dx.data_ptr())
        start = found.data_ptr()
        numbers = (stats.data_ptr(), start, start + form.totals * x.element_size(), gradients.data_ptr())
        self._run("backward", form, settings, own, tensors, numbers)
        return {"x": dx, **dict(zip(names, gradients.unbind(), strict=True))}

    def _form_of(self, shape: torch.Size, contiguous: bool, dtype: torch.dtype, groups: int) -> InputForm:
        b, c, h, w = shape
        count = b * h * w
        return InputForm(
            layout=_layout(h * w, contiguous),
            double=dtype == torch.float64,
            counts=(b, c, h * w),
            unbias=count / (count - 1) if count > 1 else 1.0,
            threads=1 + count * c // WORTH_A_THREAD,
            stats=self._kernels.stats.size(b, c, groups),
            totals=self._kernels.sums.size(b, c, groups),
        )

    def _handle_of(
        self, by: Calls, shape: torch.Size, contiguous: bool, dtype: torch.dtype, settings: Settings
    ) -> _Handle:
        form, densities = self._form(shape, contiguous, dtype, settings.groups), self._kernels.densities
        sizes = (*form.counts, settings.groups, form.threads, form.stats, form.totals, len(self.running))
        rows = [densities.index(name) if name in densities else -1 for name in PARAMETERS]
        reals = (settings.eps, settings.momentum, form.unbias)
        source = cpp_source(self.graph, self._variant("forward", form.layout, form.double))
        with building():
            return loaded(source, lambda path: _Handle(by, path, self.training, sizes, reals, rows))

    def _run(
        self,
        name: str,
        form: InputForm,
        settings: Settings,
        vectors: Mapping[str, Tensor],
        tensors: tuple[int, ...],
        numbers: tuple[int, ...],
    ) -> None:
        """Calls an entry.

        Args:
            name: of the entry.
            form: of the input.
            settings: of the layer.
            vectors: parameters and running values that there are.
            tensors: where x, dy, y and dx lie.
            numbers: where stats and, in the backward pass, totals, densities and gradients lie.
        """
        entry = self._entries.get((name, form.layout, form.double))
        if entry is None:
            entry = self._built(name, form.layout, form.double)
        given = [vectors[name].data_ptr() if name in vectors else _NOWHERE for name in self._given]
        numbers += (_NOWHERE,) * (4 - len(numbers))
        call = self._pack(*tensors, *given[:4], *numbers, *given[4:], *form.counts, *settings, form.unbias)
        entry(call, min(form.threads, torch.get_num_threads()) if form.threads > 1 else 1)

    def _built(self, name: str, layout: MemoryLayout, double: bool) -> Any:
        variant = self._variant(name, layout, double)
        with building():
            library = build(cpp_source(self.graph, variant))
        weakref.finalize(self, dlclose, library._handle)  # a search goes through thousands of layers
        for entry in ("forward", "backward") if variant.backward else ("forward",):
            function = library[entry]
            function.restype, function.argtypes = None, [ctypes.c_char_p, ctypes.c_longlong]
            self._entries[(entry, layout, double)] = function
        return self._entries[(name, layout, double)]

    def _variant(self, name: str, layout: MemoryLayout, double: bool) -> Variant:
        # In evaluation few ask for gradients, and the forward pass alone is built in a third of the time.
        return Variant(self.training, layout, double, backward=self.training or name == "backward")


class _Handle:
    """A form of `calls.h`, forgotten with this.

    Attributes:
        number: what the operator knows it by.
    """

    def __init__(
        self, by: Calls, path: Path, training: bool, sizes: tuple[int, ...], reals: tuple[float, ...], rows: list[int]
    ) -> None:
        self.number = by.make_form(str(path), training, sizes, reals, rows)
        weakref.finalize(self, by.forget_form, self.number).atexit = False  # PyTorch may be gone by then


def _layout(positions: int, contiguous: bool) -> MemoryLayout:
    # With planes of 1×1 both memory formats are the same.
    if positions == 1 or not contiguous:
        return MemoryLayout.CHANNELS
    return MemoryLayout.SMALL_PLANES if positions < GATHERED_BELOW else MemoryLayout.PLANES


def _as(vector: Tensor, x: Tensor) -> Tensor:
    """A vector of the type of x, without gaps."""
    return vector if vector.dtype == x.dtype and vector.is_contiguous() else vector.to(x.dtype).contiguous()
