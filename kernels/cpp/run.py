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
from evonas.kernels.cpp.build import build, build_and_load
from evonas.kernels.cpp.calls import Calls, calls
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.cpp.source import COUNTS, POINTERS, REALS, Variant, cpp_source
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.printing.buffers import Buffers
from evonas.language.graph import Graph
from evonas.layers.build_clock import building
from evonas.layers.running_values import running_names

if TYPE_CHECKING:
    from evonas.kernels.compiled_layer import Parameters

WORTH_A_THREAD = 2**16
"""The values of x that a thread needs to be worth starting, which takes about 20 microseconds."""
GATHERED_BELOW = 16
"""Planes of fewer positions than this are processed several at a time."""
_FORMS_KNOWN = 1024
_NOWHERE = 0


class InputForm(NamedTuple):
    """What follows from the shape, memory format and type of an input.

    Attributes:
        layout: the memory layout that the kernels are made for.
        double: whether the kernels compute in float64.
        counts: b, c and h·w.
        unbias: the factor from the biased variance over the batch to the unbiased one.
        threads: how many threads are worth starting.
        stats: how many numbers the forward pass leaves for the backward pass.
        totals: how many numbers the backward pass computes on its way.
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

    On small tensors, the time that Python takes here matters: `python -m benchmarks.call_cost` measures it.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch are computed from the input.

    Attributes:
        running: the names of running values, in the order of the graph's nodes.
    """

    def __init__(self, graph: Graph, training: bool) -> None:
        self.training, self._graph = training, graph.to_json()
        names = running_names(graph)
        self.running = tuple(names.values())
        self._plan = plan_of(graph, training)
        self._buffers = Buffers(self._plan, names)
        self._entries: dict[tuple[str, MemoryLayout, bool], Any] = {}
        self._vectors = ("v0", "v1", "weight", "bias", *self.running)
        pointers = len(POINTERS) + len(self.running)
        self._pack = struct.Struct(f"{pointers}P{len(COUNTS)}q{len(REALS)}d").pack  # a `Call`; all fields have 8 bytes
        self._form = lru_cache(_FORMS_KNOWN)(self._form_of)
        self._handle = lru_cache(_FORMS_KNOWN)(self._handle_of)

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""
        return self._buffers.stats.size(b, c, groups)

    def call(self, x: Tensor, parameters: Parameters, running: tuple[Tensor, ...], settings: Settings) -> Tensor | None:
        """The layer's value with its derivative, by the operator in C++; None if that operator cannot be used.

        Raises:
            BuildError: if the layer has to be built, and that fails.
        """
        by = calls()
        # In evaluation gradients are rare, so the backward pass is built only when one is asked for.
        if by is None or (torch.is_grad_enabled() and not self.training):
            return None
        handle = self._handle(by, x.shape, x.is_contiguous(), x.dtype, settings)
        return by.norm_act(x, *parameters, running, handle.number)

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value for x in float32 or float64, and the numbers that its backward pass needs.

        Raises:
            BuildError: if the layer has to be built, and that fails.
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
        """The gradients of x and of the parameters, in the type of x."""
        form = self._form(x.shape, x.is_contiguous(), x.dtype, settings.groups)
        names, (b, c, _), dx = self._buffers.densities, form.counts, torch.empty_like(x)
        gradients = x.new_empty((len(names), c))
        found = x.new_empty(form.totals + len(names) * b * c)  # the totals, then the gradients of every plane
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
            stats=self._buffers.stats.size(b, c, groups),
            totals=self._buffers.sums.size(b, c, groups),
        )

    def _handle_of(
        self, by: Calls, shape: torch.Size, contiguous: bool, dtype: torch.dtype, settings: Settings
    ) -> _Handle:
        form, densities = self._form(shape, contiguous, dtype, settings.groups), self._buffers.densities
        sizes = (*form.counts, settings.groups, form.threads, form.stats, form.totals, len(self.running))
        rows = [densities.index(name) if name in densities else -1 for name in PARAMETERS]
        reals = (settings.eps, settings.momentum, form.unbias)
        source = cpp_source(self._plan, self._variant("forward", form.layout, form.double))
        with building():
            return build_and_load(
                source, lambda path: _Handle(by, path, self._graph, self.training, sizes, reals, rows)
            )

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
            name: `forward` or `backward`.
            form: the form of the input.
            settings: the settings of the layer.
            vectors: the parameters and running values that the layer has.
            tensors: the addresses of x, dy, y and dx.
            numbers: the addresses of stats and, in the backward pass, of totals, densities and gradients.
        """
        entry = self._entries.get((name, form.layout, form.double))
        if entry is None:
            entry = self._built(name, form.layout, form.double)
        addresses = [vectors[name].data_ptr() if name in vectors else _NOWHERE for name in self._vectors]
        numbers += (_NOWHERE,) * (4 - len(numbers))
        call = self._pack(*tensors, *addresses[:4], *numbers, *addresses[4:], *form.counts, *settings, form.unbias)
        entry(call, min(form.threads, torch.get_num_threads()) if form.threads > 1 else 1)

    def _built(self, name: str, layout: MemoryLayout, double: bool) -> Any:
        variant = self._variant(name, layout, double)
        with building():
            library = build(cpp_source(self._plan, variant))
        weakref.finalize(self, dlclose, library._handle)  # a search goes through thousands of layers
        for entry in ("forward", "backward") if variant.backward else ("forward",):
            function = library[entry]
            function.restype, function.argtypes = None, [ctypes.c_char_p, ctypes.c_longlong]
            self._entries[(entry, layout, double)] = function
        return self._entries[(name, layout, double)]

    def _variant(self, name: str, layout: MemoryLayout, double: bool) -> Variant:
        # In evaluation gradients are rare, and the forward pass alone is built in a third of the time.
        return Variant(layout, double, backward=self.training or name == "backward")


class _Handle:
    """A `Form` of `calls.h`, which is forgotten when this object is deleted.

    Attributes:
        number: the number by which the operator finds the form.
    """

    def __init__(
        self,
        by: Calls,
        path: Path,
        graph: str,
        training: bool,
        sizes: tuple[int, ...],
        reals: tuple[float, ...],
        rows: list[int],
    ) -> None:
        self.number = by.make_form(str(path), graph, training, sizes, reals, rows)
        weakref.finalize(self, by.forget_form, self.number).atexit = False  # PyTorch may be gone by then


def _layout(positions: int, contiguous: bool) -> MemoryLayout:
    # With planes of 1×1, both memory formats are the same.
    if positions == 1 or not contiguous:
        return MemoryLayout.CHANNELS
    return MemoryLayout.SMALL_PLANES if positions < GATHERED_BELOW else MemoryLayout.PLANES


def _as(vector: Tensor, x: Tensor) -> Tensor:
    """A vector in the type of x, contiguous."""
    return vector if vector.dtype == x.dtype and vector.is_contiguous() else vector.to(x.dtype).contiguous()
