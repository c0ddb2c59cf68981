"""Runs a layer's Triton kernels on tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
import triton

from evonas.graph import Graph
from evonas.kernels.on_chip import OnChipKernels
from evonas.kernels.plan import plan_of
from evonas.kernels.schedule import Join
from evonas.kernels.streaming import StreamingKernels
from evonas.kernels.triton_module import load, source
from evonas.layer import running_names
from evonas.ops import IndexSet

if TYPE_CHECKING:
    from torch import Tensor

TILE = {False: 4096, True: 2048}
"""Values of a tile of x, and of tiles of x and dy: the more there are the more loads are in flight, and the more
registers are taken of 128 threads."""
ON_CHIP = {False: 16384, True: 8192}
"""Values of the largest cell that a program holds, of x, and of x and dy: up to 64 registers of 256 threads."""
_JOINED_AT_ONCE = 1024


@dataclass(frozen=True)
class Settings:
    """What a layer knows beside its tensors; see `evonas.NormAct`."""

    groups: int
    eps: float
    momentum: float


class TritonLayer:
    """The kernels of one graph in one mode, for inputs of any shape, type and memory format.

    Args:
        graph: the layer before its affine.
        training: whether statistics over the batch are taken from it.
        on_chip: whether to hold whole cells on chip where they fit.

    Attributes:
        plan: what the kernels carry out.
        source: their text.
        module: the module that it is.
    """

    def __init__(self, graph: Graph, training: bool, on_chip: bool = True) -> None:
        self.plan = plan_of(graph, training)
        self.running_names = tuple(running_names(graph).values())
        places = {node: row for row, node in enumerate(running_names(graph))}
        self.kernels, self.on_chip = StreamingKernels(self.plan, places), OnChipKernels(self.plan, places)
        self.source = source(self.plan, self.kernels, self.on_chip)
        self._one_kernel = on_chip and self.on_chip.possible
        self.module = load(self.source)

    @property
    def names(self) -> list[str]:
        """Of the kernels, in the order in which they stand in the source."""
        return re.findall(r"^def (\w+)\(", self.source, re.M)

    def forward(
        self, x: Tensor, parameters: Mapping[str, Tensor], running: Tensor | None, settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """The layer's value, and the numbers of planes and cells that its backward pass needs.

        Args:
            x: (b, c, h, w), float32, float16 or bfloat16, contiguous or channels last.
            parameters: `weight` and `bias`, and `v0` and `v1` where the layer has them; (c,).
            running: (number of statistics over the batch, c), float32; read in evaluation, updated in training.
            settings: of the layer.
        """
        y = torch.empty_like(x)
        stats = x.new_empty(self.kernels.stats.size(x.shape[0], x.shape[1], settings.groups), dtype=torch.float32)
        given = self._given(x, parameters, running, settings) | {"y_ptr": y, "stats_ptr": stats}
        if self._fits(x, given, ON_CHIP[False]):
            self._by_cells("forward_on_chip", x, given)
            return y, stats
        for after in range(len(self.plan.sweeps) + 1):
            if after:
                self._over_planes(f"sweep_{after}", x, given)
            for number, join in enumerate(self.kernels.forward_joins, 1):
                if join.after == after:
                    self._join(f"join_{number}", join, x, given)
        self._over_planes("write", x, given)
        return y, stats

    def backward(
        self,
        dy: Tensor,
        x: Tensor,
        stats: Tensor,
        parameters: Mapping[str, Tensor],
        running: Tensor | None,
        settings: Settings,
    ) -> dict[str, Tensor]:
        """The gradients of `x` and, in float32, of the parameters; `dy` has the memory format of `x`."""
        b, c, h, w = x.shape
        dx, kernels = torch.empty_like(x), self.kernels
        totals = x.new_empty(kernels.sums.size(b, c, settings.groups), dtype=torch.float32)
        densities = x.new_empty((len(kernels.densities), b, c), dtype=torch.float32)
        given = self._given(x, parameters, running, settings)
        given |= {"dy_ptr": dy, "dx_ptr": dx, "stats_ptr": stats, "totals_ptr": totals, "densities_ptr": densities}
        if not self.plan.one_sweep_back and self._fits(x, given, ON_CHIP[True]):
            self._by_cells("backward_on_chip", x, given)
        else:
            if not self.plan.one_sweep_back:
                self._over_planes("total", x, given)
                for number, join in enumerate(kernels.backward_joins, 1):
                    self._join(f"join_back_{number}", join, x, given)
            self._over_planes("write_back", x, given)
        sums = densities.sum(1).mul_(h * w)
        return {"x": dx, **dict(zip(kernels.densities, sums, strict=True))}

    def _given(
        self, x: Tensor, parameters: Mapping[str, Tensor], running: Tensor | None, settings: Settings
    ) -> dict[str, Any]:
        b, c, h, w = x.shape
        last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        count = b * h * w
        return {
            "x_ptr": x,
            **{f"{name}_ptr": value for name, value in parameters.items()},
            "running_ptr": running,
            "B": b,
            "C": c,
            "HW": h * w,
            "G": settings.groups,
            "planes": b * c,
            "stride_b": c * h * w,
            "stride_c": 1 if last else h * w,
            "stride_p": c if last else 1,
            "eps": settings.eps,
            "momentum": settings.momentum,
            "unbias": count / (count - 1) if count > 1 else 1.0,
        }

    def _cell(self, x: Tensor, given: Mapping[str, Any]) -> tuple[int, int, int]:
        """Rows and positions of a cell's tile, in powers of two, and how many programs there are."""
        b, c = x.shape[:2]
        positions = triton.next_power_of_2(x.shape[2] * x.shape[3])
        match self.on_chip.cell:
            case IndexSet.WHCG:
                return triton.next_power_of_2(c // given["G"]), positions, b * given["G"]
            case IndexSet.WHC:
                return triton.next_power_of_2(c), positions, b
        rows = min(triton.next_power_of_2(c), max(1, TILE[True] // positions))
        return rows, positions, b * triton.cdiv(c, rows)

    def _fits(self, x: Tensor, given: Mapping[str, Any], limit: int) -> bool:
        if not self._one_kernel:
            return False
        rows, positions, _ = self._cell(x, given)
        return rows * positions <= limit

    def _by_cells(self, name: str, x: Tensor, given: Mapping[str, Any]) -> None:
        rows, positions, programs = self._cell(x, given)
        warps = min(8, max(1, rows * positions // 512))
        self._run(name, (programs,), given, R=rows, BLOCK=positions, num_warps=warps)

    def _over_planes(self, name: str, x: Tensor, given: Mapping[str, Any]) -> None:
        size = TILE["dy_ptr" in getattr(self.module, name).arg_names]
        channels, positions = triton.next_power_of_2(x.shape[1]), triton.next_power_of_2(x.shape[2] * x.shape[3])
        if given["stride_c"] == 1:  # neighbouring channels lie side by side
            rows = min(channels, 64)
            block = min(positions, size // rows)
        else:
            block = min(positions, 1024)
            rows = min(channels, max(1, size // block))
        grid = (x.shape[0] * triton.cdiv(x.shape[1], rows),)
        self._run(name, grid, given, R=rows, BLOCK=block)

    def _join(self, name: str, join: Join, x: Tensor, given: Mapping[str, Any]) -> None:
        b, c = x.shape[:2]
        if join.index_set is IndexSet.BWH:
            rows = min(triton.next_power_of_2(c), 16)
            deep = min(triton.next_power_of_2(b), _JOINED_AT_ONCE // rows)
            self._run(name, (triton.cdiv(c, rows),), given, R=rows, **({"DEEP": deep} if join.nodes else {}))
            return
        width, cells = (c // given["G"], b * given["G"]) if join.index_set is IndexSet.WHCG else (c, b)
        self._run(name, (cells,), given, R=min(triton.next_power_of_2(width), _JOINED_AT_ONCE))

    def _run(self, name: str, grid: tuple[int, ...], given: Mapping[str, Any], **constants: int) -> None:
        kernel = getattr(self.module, name)
        kernel[grid](**{a: given[a] for a in kernel.arg_names if a not in constants}, **constants)


@lru_cache(maxsize=256)
def triton_layer(graph: Graph, training: bool) -> TritonLayer:
    """The kernels of a layer, which a process makes once."""
    return TritonLayer(graph, training)
