"""Runs a layer's Triton kernels that go row by row."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from evonas.kernels.compiled_layer import Settings, parameter_names
from evonas.kernels.plan.rows import row_plan_of
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.module import import_from_cache
from evonas.kernels.triton.rows import RowKernels, rows_in_triton
from evonas.kernels.triton.tiles import Grid, Shape, over_rows
from evonas.language.graph import Graph

if TYPE_CHECKING:
    from torch import Tensor

_SHAPES_KNOWN = 256


class TritonRowLayer:
    """The kernels of one graph, for inputs of any shape with channels last in memory, in float32, float16 and bfloat16.

    Args:
        graph: the layer before its affine.

    Attributes:
        parameters: the names of the parameters, in the order of `parameter_names`.
        running: none: statistics over the batch are taken over planes.
        source: the text of the kernels.
    """

    running: tuple[str, ...] = ()

    def __init__(self, graph: Graph) -> None:
        self.parameters = parameter_names(graph)
        self._plan = row_plan_of(graph)
        self._kernels = RowKernels(self._plan)
        self.source = rows_in_triton(self._kernels)
        self._module = import_from_cache(self.source)
        self._launches = lru_cache(_SHAPES_KNOWN)(self.launches)

    def stats_size(self, x: Tensor, groups: int) -> int:
        """How many numbers the forward pass leaves for the backward pass, which computes all anew."""
        return 0

    def call(self, *_: object) -> None:
        """Returns None: nothing faster than Python launches Triton's kernels."""

    def forward(self, x: Tensor, vectors: Mapping[str, Tensor], settings: Settings) -> tuple[Tensor, Tensor]:
        """The layer's value for x, (b, c, h, w) with channels last in memory, and no numbers."""
        with torch.cuda.device_of(x):
            y = torch.empty_like(x)
            self._of(x, settings)[0]({**vectors, "x": x, "y": y})
        return y, x.new_empty(0, dtype=torch.float32)

    def backward(
        self, dy: Tensor, x: Tensor, stats: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """The gradients of x, in its type, and of the parameters, in float32."""
        return self.backward_of_sum(dy, None, x, vectors, settings)

    def forward_of_sum(
        self, x: Tensor, residual: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """As `AddingLayer` says."""
        with torch.cuda.device_of(x):
            dtype = torch.promote_types(x.dtype, residual.dtype)
            y, r = torch.empty_like(x, dtype=dtype), torch.empty_like(x, dtype=dtype)
            self._of(x, settings, adds=True)[0]({**vectors, "x": x, "residual": residual, "r": r, "y": y})
        return y, r

    def backward_of_sum(
        self, dy: Tensor, dr: Tensor | None, r: Tensor, vectors: Mapping[str, Tensor], settings: Settings
    ) -> dict[str, Tensor]:
        """As `AddingLayer` says."""
        names, channels = self._kernels.densities, r.shape[1]
        with torch.cuda.device_of(r):
            _, launch, count = self._of(r, settings, adds=dr is not None)
            dx = torch.empty_like(r)
            parts = r.new_empty((count, len(names), channels), dtype=torch.float32)
            given = {**vectors, "x": r, "dy": dy, "dx": dx, "parts": parts}
            launch(given if dr is None else {**given, "dr": dr})
        return {"x": dx, **dict(zip(names, parts.sum(0).unbind(), strict=True))}

    def _of(self, x: Tensor, settings: Settings, adds: bool = False) -> tuple[Launch, Launch, int]:
        b, c, h, w = x.shape
        return self._launches(Shape(b, c, h * w, settings.groups, True), settings.eps, adds)

    def launches(self, shape: Shape, eps: float = 1e-5, adds: bool = False) -> tuple[Launch, Launch, int]:
        """The launches of both passes for an input of a shape, and the number of partial sums of gradients.

        Args:
            shape: of the input, with channels last in memory.
            eps: as in `evonas.NormAct`.
            adds: whether the forward pass adds a residual, and the backward pass the gradient of that sum.
        """
        of_sum = "_of_sum" if adds else ""
        kind, heavy = self._kernels.kind, self._kernels.heavy
        back = over_rows(shape, kind, heavy, back=True)
        forward = self._launch(f"forward_rows{of_sum}", over_rows(shape, kind, heavy, back=False), eps)
        return forward, self._launch(f"backward_rows{of_sum}", back, eps), back[0][0]

    def _launch(self, name: str, grid: Grid, eps: float) -> Launch:
        function, (programs, division) = getattr(self._module, name), grid
        arguments = [a for a in function.arg_names if a not in division]
        values = tuple(eps if a == "eps" else None for a in arguments)
        pointers = ((place, a.removesuffix("_ptr")) for place, a in enumerate(arguments) if a.endswith("_ptr"))
        return Launch(function, programs, values, tuple(pointers), division)
