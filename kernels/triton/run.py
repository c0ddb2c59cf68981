"""Runs a layer's Triton kernels on tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from evonas.kernels.compiled_layer import Settings
from evonas.kernels.plan.plan import plan_of
from evonas.kernels.triton.launches import Launches, Work
from evonas.kernels.triton.module import fixed, load, source
from evonas.kernels.triton.on_chip import OnChipKernels
from evonas.kernels.triton.streaming import StreamingKernels
from evonas.kernels.triton.tiles import Shape
from evonas.language.graph import Graph
from evonas.layers.running_values import running_names

if TYPE_CHECKING:
    from torch import Tensor

_SHAPES_KNOWN = 256
_LARGE = 2**20
"""Values of an input from which on kernels are compiled for its shape alone: that takes a second for each, once, and
saves a tenth to a half of the time of large ones. Small inputs are those of a search, which has no time to compile."""
_SHAPES_FIXED = 32
"""Shapes that this is done for: where sizes differ from call to call it would never end."""


class TritonLayer:
    """The kernels of one graph in one mode, for inputs of any shape, type and memory format.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch are taken from it.
        on_chip: whether to hold whole cells on chip where they fit.

    Attributes:
        plan: what the kernels carry out.
        running: names of running values, in the order of the graph's nodes.
        kernels: what writes them.
        source: their text.
        module: the module that it is.
    """

    def __init__(self, graph: Graph, training: bool, on_chip: bool = True) -> None:
        self.plan = plan_of(graph, training)
        names = running_names(graph)
        self.running = tuple(names.values())
        self.kernels, cells = StreamingKernels(self.plan, names), OnChipKernels(self.plan, names)
        self.source = source(self.plan, self.kernels, cells)
        self.module = load(self.source)
        self._cells, self._on_chip = cells, on_chip
        self._launches = self._launches_of(self.module)
        self._fixed: Launches | None = None
        self._fixed_for: set[Shape] = set()
        self._work = lru_cache(_SHAPES_KNOWN)(self._work_of)

    @property
    def names(self) -> list[str]:
        """Of the kernels, in the order in which they stand in the source."""
        return re.findall(r"^def (\w+)\(", self.source, re.M)

    def stats_size(self, b: int, c: int, groups: int) -> int:
        """See `CompiledLayer`."""
        return self.kernels.stats.size(b, c, groups)

    def work(self, shape: Shape, eps: float = 1e-5, momentum: float = 0.1) -> Work:
        """Which kernels run for inputs of a shape, each with everything but its tensors."""
        new = shape not in self._fixed_for
        if shape.b * shape.c * shape.positions < _LARGE or (new and len(self._fixed_for) >= _SHAPES_FIXED):
            return self.open_work(shape, eps, momentum)
        if self._fixed is None:
            self._fixed = self._launches_of(load(fixed(self.source)))
        self._fixed_for.add(shape)
        return self._fixed.of(shape, eps, momentum)

    def open_work(self, shape: Shape, eps: float = 1e-5, momentum: float = 0.1) -> Work:
        """The same by kernels that serve any shape, however large it is."""
        return self._launches.of(shape, eps, momentum)

    def _launches_of(self, module: ModuleType) -> Launches:
        return Launches(self.kernels, self._cells, lambda name: getattr(module, name), self._on_chip)

    def call(self, *_: object) -> None:
        """See `CompiledLayer`: Triton's kernels are launched from Python."""

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """See `CompiledLayer`; float32, float16 or bfloat16."""
        if elsewhere(x):
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
        """See `CompiledLayer`; gradients of parameters are float32."""
        if elsewhere(x):
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
        # Of strides alone: a 1×1 plane or a single channel is both, and goes as contiguous.
        return self.work(Shape(b, c, h * w, settings.groups, not contiguous), settings.eps, settings.momentum)


def elsewhere(x: Tensor) -> bool:
    """Whether x is on another GPU than the current one, on which Triton launches kernels."""
    return x.is_cuda and x.get_device() != torch.cuda.current_device()
