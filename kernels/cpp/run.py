"""Runs a layer's C++ kernels on tensors."""

from __future__ import annotations

import ctypes
import struct
import weakref
from _ctypes import dlclose
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evonas.kernels.compiled_layer import Settings, parameter_names
from evonas.kernels.cpp.build import build, build_and_load
from evonas.kernels.cpp.calls import Calls, calls
from evonas.kernels.cpp.loops import MemoryLayout
from evonas.kernels.cpp.source import COUNTS, POINTERS, REALS, PlaneFile, RowFile, Variant
from evonas.kernels.plan.kind import PlanKind, kinds_of
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.plan.rows import row_plan_of
from evonas.kernels.printing.buffers import PARAMETER_POINTERS
from evonas.language.graph import Graph
from evonas.layers.build_clock import building
from evonas.layers.running_values import running_names

WORTH_A_THREAD = 2**16
"""The values of x that a thread needs to be worth starting, which takes about 20 microseconds."""
GATHERED_BELOW = 16
"""Planes of fewer positions than this are processed several at a time."""
_FORMS_KNOWN = 1024
_VECTORS = tuple(name.removesuffix("_ptr") for name in PARAMETER_POINTERS)
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
        parameters: the names of the parameters, in the order of `parameter_names`.
        running: the names of running values, in the order of the graph's nodes.
    """

    def __init__(self, graph: Graph, training: bool) -> None:
        self.training, self._graph = training, graph.to_json()
        names = running_names(graph)
        self.running = tuple(names.values())
        self.parameters = parameter_names(graph)
        kinds = kinds_of(graph)
        self._planes = PlaneFile(plan_of(graph, training)) if PlanKind.PLANES in kinds else None
        self._rows = RowFile(row_plan_of(graph)) if PlanKind.ROWS in kinds else None
        self._vectors = (*_VECTORS, *self.running)
        self._entries: dict[tuple[str, MemoryLayout, bool], Any] = {}
        pointers = len(POINTERS) + len(self.running)
        self._pack = struct.Struct(f"{pointers}P{len(COUNTS)}q{len(REALS)}d").pack  # a `Call`; all fields have 8 bytes
        self._form = lru_cache(_FORMS_KNOWN)(self._form_of)
        self._handle = lru_cache(_FORMS_KNOWN)(self._handle_of)

    def stats_size(self, x: Tensor, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""
        return self._form_of(x.shape, x.is_contiguous(), x.dtype, groups).stats

    def _file(self, layout: MemoryLayout) -> PlaneFile | RowFile:
        found = self._rows if layout is MemoryLayout.ROWS else self._planes
        assert found is not None  # the layout is one that the layer can have
        return found

    def call(
        self, x: Tensor, parameters: tuple[Tensor, ...], running: tuple[Tensor, ...], settings: Settings
    ) -> Tensor | None:
        """The layer's value with its derivative, by the operator in C++; None if that operator cannot be used.

        Raises:
            BuildError: if the layer has to be built, and that fails.
        """
        by = calls()
        # In evaluation gradients are rare, so the backward pass is built only when one is asked for.
        if by is None or (torch.is_grad_enabled() and not self.training):
            return None
        handle = self._handle(by, x.shape, x.is_contiguous(), x.dtype, settings)
        return by.norm_act(x, parameters, running, handle.number)

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

    def forward_of_sum(
        self, x: Tensor, residual: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """As `AddingLayer` says.

        Raises:
            BuildError: if the layer has to be built, and that fails.
        """
        form = self._form(x.shape, x.is_contiguous(), x.dtype, settings.groups)
        y, r, stats = torch.empty_like(x), torch.empty_like(x), x.new_empty(form.stats)
        own = {name: _as(value, x) for name, value in vectors.items()}
        tensors = (x.data_ptr(), _NOWHERE, y.data_ptr(), _NOWHERE)
        added = (residual.data_ptr(), r.data_ptr(), _NOWHERE)
        self._run("forward", form, settings, own, tensors, (stats.data_ptr(),), added)
        return y, r

    def backward_of_sum(
        self, dy: Tensor, dr: Tensor | None, r: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """As `AddingLayer` says."""
        return self.backward(dy, r, r.new_empty(0), vectors, settings, dr)

    def backward(
        self,
        dy: Tensor,
        x: Tensor,
        stats: Tensor,
        vectors: Mapping[str, Tensor],
        settings: Settings,
        dr: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The gradients of x and of the parameters, in the type of x; `dr`, if given, is added to the former."""
        form = self._form(x.shape, x.is_contiguous(), x.dtype, settings.groups)
        names, (b, c, _), dx = self._file(form.layout).densities, form.counts, torch.empty_like(x)
        gradients = x.new_empty((len(names), c))
        found = x.new_empty(form.totals + len(names) * b * c)  # the totals, then the gradients of every plane
        own = {name: _as(value, x) for name, value in vectors.items()}
        tensors = (x.data_ptr(), dy.data_ptr(), _NOWHERE, dx.data_ptr())
        start = found.data_ptr()
        numbers = (stats.data_ptr(), start, start + form.totals * x.element_size(), gradients.data_ptr())
        added = (_NOWHERE, _NOWHERE, _NOWHERE if dr is None else dr.data_ptr())
        self._run("backward", form, settings, own, tensors, numbers, added)
        return {"x": dx, **dict(zip(names, gradients.unbind(), strict=True))}

    def _form_of(self, shape: torch.Size, contiguous: bool, dtype: torch.dtype, groups: int) -> InputForm:
        b, c, h, w = shape
        count = b * h * w
        layout = self._layout(c, h * w, contiguous)
        stats, totals = self._file(layout).sizes(b, c, h * w, groups)
        return InputForm(
            layout=layout,
            double=dtype == torch.float64,
            counts=(b, c, h * w),
            unbias=count / (count - 1) if count > 1 else 1.0,
            threads=1 + count * c // WORTH_A_THREAD,
            stats=stats,
            totals=totals,
        )

    def _layout(self, channels: int, positions: int, contiguous: bool) -> MemoryLayout:
        # With planes of 1×1, or a single channel, both memory formats are the same.
        if self._rows is not None and (positions == 1 or channels == 1 or not contiguous):
            return MemoryLayout.ROWS
        if self._planes is None:
            raise ValueError("a layer with statistics at single positions takes its input with channels last in memory")
        if positions == 1 or not contiguous:
            return MemoryLayout.CHANNELS
        return MemoryLayout.SMALL_PLANES if positions < GATHERED_BELOW else MemoryLayout.PLANES

    def _handle_of(
        self, by: Calls, shape: torch.Size, contiguous: bool, dtype: torch.dtype, settings: Settings
    ) -> _Handle:
        form = self._form(shape, contiguous, dtype, settings.groups)
        file = self._file(form.layout)
        sizes = (*form.counts, settings.groups, form.threads, form.stats, form.totals, len(self.running))
        fields = [POINTERS.index(f"{name}_ptr") for name in self.parameters]
        rows = [file.densities.index(name) for name in self.parameters]
        reals = (settings.eps, settings.momentum, form.unbias)
        source = file.text(self._variant("forward", form.layout, form.double))
        with building():
            return build_and_load(
                source, lambda path: _Handle(by, path, self._graph, self.training, sizes, reals, fields, rows)
            )

    def _run(
        self,
        name: str,
        form: InputForm,
        settings: Settings,
        vectors: Mapping[str, Tensor],
        tensors: tuple[int, ...],
        numbers: tuple[int, ...],
        added: tuple[int, ...] = (_NOWHERE,) * 3,
    ) -> None:
        """Calls an entry.

        Args:
            name: `forward` or `backward`.
            form: the form of the input.
            settings: the settings of the layer.
            vectors: the parameters and running values that the layer has.
            tensors: the addresses of x, dy, y and dx.
            numbers: the addresses of stats and, in the backward pass, of totals, densities and gradients.
            added: the addresses of residual, r and dr.
        """
        entry = self._entries.get((name, form.layout, form.double))
        if entry is None:
            entry = self._built(name, form.layout, form.double)
        addresses = [vectors[name].data_ptr() if name in vectors else _NOWHERE for name in self._vectors]
        numbers += (_NOWHERE,) * (4 - len(numbers))
        own, running = addresses[: len(_VECTORS)], addresses[len(_VECTORS) :]
        call = self._pack(*tensors, *own, *numbers, *added, *running, *form.counts, *settings, form.unbias)
        entry(call, min(form.threads, torch.get_num_threads()) if form.threads > 1 else 1)

    def _built(self, name: str, layout: MemoryLayout, double: bool) -> Any:
        variant = self._variant(name, layout, double)
        with building():
            library = build(self._file(layout).text(variant))
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
        fields: list[int],
        rows: list[int],
    ) -> None:
        self.number = by.make_form(str(path), graph, training, sizes, reals, fields, rows)
        weakref.finalize(self, by.forget_form, self.number).atexit = False  # PyTorch may be gone by then


def _as(vector: Tensor, x: Tensor) -> Tensor:
    """A vector in the type of x, contiguous."""
    return vector if vector.dtype == x.dtype and vector.is_contiguous() else vector.to(x.dtype).contiguous()
