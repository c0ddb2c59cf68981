"""Runs a layer's Triton kernels on tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from evonas.kernels.compiled_layer import Settings, parameter_names
from evonas.kernels.plan.planner import plan_of
from evonas.kernels.triton.launches import Launches, Work
from evonas.kernels.triton.module import import_from_cache, module_text, with_constant_sizes
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.kernels.triton.tiles import Shape
from evonas.language.graph import Graph
from evonas.layers.running_values import running_names

if TYPE_CHECKING:
    from torch import Tensor

_SHAPES_KNOWN = 256
_CONSTANT_SIZES_FROM = 2**22
"""From this number of values on, an input gets kernels that are compiled for its shape alone. Compiling takes several
seconds for each shape, once, and saves a tenth to a half of the time of a large input. A search has smaller inputs, and
no time to compile."""
_MOST_CONSTANT_SHAPES = 32
"""The most shapes for which this is done; if sizes differed from call to call, compiling would never end."""


class TritonLayer:
    """The kernels of one graph in one mode, for inputs of any shape, type and memory format.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch are computed from the input.
        on_chip: whether to hold whole cells on chip where they fit.

    Attributes:
        plan: the plan that the kernels follow.
        parameters: the names of the parameters, in the order of `parameter_names`.
        running: the names of running values, in the order of the graph's nodes.
        kernels: the writer of the streaming kernels.
        source: the text of all kernels.
        module: the module with this text.
    """

    def __init__(self, graph: Graph, training: bool, on_chip: bool = True) -> None:
        self.plan = plan_of(graph, training)
        names = running_names(graph)
        self.running = tuple(names.values())
        self.parameters = parameter_names(graph)
        self.kernels, cells = StreamingKernels(self.plan, names), OnChipKernels(self.plan, names)
        self.source = module_text(self.kernels, cells)
        self.module = import_from_cache(self.source)
        self._cells, self._on_chip = cells, on_chip
        self._launches = self._launches_of(self.module)
        self._constant: Launches | None = None  # by kernels with sizes as constants
        self._constant_shapes: set[Shape] = set()
        self._work = lru_cache(_SHAPES_KNOWN)(self._work_of)

    @property
    def names(self) -> list[str]:
        """The names of the kernels, in the order of the source."""
        return re.findall(r"^def (\w+)\(", self.source, re.M)

    def stats_size(self, x: Tensor, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass."""
        return self.kernels.stats.size(x.shape[0], x.shape[1], groups)

    def work(self, shape: Shape, eps: float = 1e-5, momentum: float = 0.1) -> Work:
        """The launches for inputs of a shape, each with everything but its tensors."""
        is_new, is_full = shape not in self._constant_shapes, len(self._constant_shapes) >= _MOST_CONSTANT_SHAPES
        if shape.b * shape.c * shape.positions < _CONSTANT_SIZES_FROM or (is_new and is_full):
            return self.work_for_any_shape(shape, eps, momentum)
        if self._constant is None:
            self._constant = self._launches_of(import_from_cache(with_constant_sizes(self.source)))
        self._constant_shapes.add(shape)
        return self._constant.of(shape, eps, momentum)

    def work_for_any_shape(self, shape: Shape, eps: float = 1e-5, momentum: float = 0.1) -> Work:
        """The same with kernels that serve any shape, however large the input."""
        return self._launches.of(shape, eps, momentum)

    def _launches_of(self, module: ModuleType) -> Launches:
        return Launches(self.kernels, self._cells, lambda name: getattr(module, name), self._on_chip)

    def call(self, *_: object) -> None:
        """Returns None: nothing faster than Python launches Triton's kernels."""

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value for x in float32, float16 or bfloat16, and the numbers that its backward pass needs."""
        if is_on_another_gpu(x):
            with torch.cuda.device(x.device):
                return self.forward(x, vectors, settings)
        work = self._work(x.shape, x.is_contiguous(), settings)
        y = torch.empty_like(x)
        stats = x.new_empty(work.stats, dtype=torch.float32)
        given = {**vectors, "x": x, "y": y, "stats": stats}
        if work.parts:
            given["parts"] = x.new_empty(work.parts, dtype=torch.float32)
        for launch in work.forward:
            launch(given)
        return y, stats

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of x, in its type, and of the parameters, in float32."""
        if is_on_another_gpu(x):
            with torch.cuda.device(x.device):
                return self.backward(dy, x, stats, vectors, settings)
        work = self._work(x.shape, x.is_contiguous(), settings)
        dx = torch.empty_like(x)
        rows = x.shape[0] * work.pieces
        densities = x.new_empty((len(self.kernels.densities), rows, x.shape[1]), dtype=torch.float32)
        totals = x.new_empty(work.totals, dtype=torch.float32)
        given = {**vectors, "x": x, "dy": dy, "dx": dx, "stats": stats, "totals": totals, "densities": densities}
        if work.parts_back:
            given["parts"] = x.new_empty(work.parts_back, dtype=torch.float32)
        for launch in work.backward:
            launch(given)
        return {"x": dx, **dict(zip(self.kernels.densities, densities.sum(1).unbind(), strict=True))}

    def _work_of(self, shape: torch.Size, contiguous: bool, settings: Settings) -> Work:
        b, c, h, w = shape
        # With 1×1 planes or a single channel the two memory formats are the same, which counts as contiguous.
        return self.work(Shape(b, c, h * w, settings.groups, not contiguous), settings.eps, settings.momentum)


def is_on_another_gpu(x: Tensor) -> bool:
    """Whether x is on another GPU than the current one, where Triton launches kernels."""
    return x.is_cuda and x.get_device() != torch.cuda.current_device()
