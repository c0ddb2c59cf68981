"""Measures kernels with other tiles than those chosen for them, with sizes as constants and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from benchmarks.kernels.contenders import TYPES
from benchmarks.kernels.timing import copy_bandwidth, gpu_seconds
from evonas.kernels.triton.launches import Launch
from evonas.kernels.triton.run import TritonLayer
from evonas.kernels.triton.tiles import Shape, divided, power_of_2
from evonas.language.zoo import as_graph
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import groups_dividing

SIZES = ("fixed", "open")
"""Whether kernels are compiled for one shape, as they are for large inputs, or for any shape."""
_OF_X = ("x", "y", "dy", "dx")


def shape_of(given: Mapping[str, Any]) -> Shape:
    """The shape on which the launches of an item depend."""
    b, c, h, w = given["shape"]
    return Shape(b, c, h * w, groups_dividing(c, 32), given["format"] == "nhwc" and h * w > 1)


def launches(
    given: Mapping[str, Any], sizes: str = "fixed", on_chip: bool = True
) -> Iterator[tuple[Launch, dict[str, Tensor], int]]:
    """The launches of a layer's training step in order, their tensors, and how many tensors like x each moves.

    Each launch reads the results of those before it, so all of them have to run in order once.
    """
    b, c, h, w = given["shape"]
    shape, graph = shape_of(given), as_graph(given["layer"])
    layer = TritonLayer(graph, True, on_chip)
    work = layer.work(shape) if sizes == "fixed" else layer.work_for_any_shape(shape)
    form = torch.channels_last if given["format"] == "nhwc" else torch.contiguous_format
    tensors = {
        name: torch.randn(b, c, h, w, device="cuda").to(TYPES[given["dtype"]]).contiguous(memory_format=form)
        for name in _OF_X
    }
    module_of = NormAct(graph, c, device="cuda")
    tensors |= {name: p.detach() for name, p in (*module_of.named_parameters(), *module_of.named_buffers())}
    tensors["stats"] = torch.zeros(work.stats, device="cuda")
    tensors["totals"] = torch.zeros(work.totals, device="cuda")
    tensors["densities"] = torch.zeros(len(layer.kernels.densities), b * work.pieces, c, device="cuda")
    tensors["parts"] = torch.zeros(max(work.parts, work.parts_back, 1), device="cuda")
    for launch in (*work.forward, *work.backward):
        launch(tensors)
        yield launch, tensors, sum(name in _OF_X for _, name in launch.tensors)


def measured(given: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """One kernel of a layer with every tile: seconds, registers, spilled bytes, programs.

    Args:
        given: the description of an item; its `kernel` is one of `items.KERNELS`.
        repeats: the number of calls of each timing; 0 runs each kernel once, which compiles it, and times nothing.
    """
    on_chip = given["kernel"].endswith("_on_chip")
    found: list[dict[str, Any]] = []
    bytes_moved, bandwidth = 0, None
    for sizes in SIZES:
        for launch, tensors, moved in launches(given, sizes, on_chip):
            if launch.kernel.__name__ != given["kernel"]:
                continue
            bytes_moved = moved * tensors["x"].numel() * tensors["x"].element_size()
            if repeats and bandwidth is None:
                bandwidth = copy_bandwidth(tensors["x"].numel(), tensors["x"].dtype, repeats)
            for other in _varied(launch, given):
                row: dict[str, Any] = {"sizes": sizes, "grid": list(other.grid), **other.constants}
                chosen = (other.grid, other.constants) == (launch.grid, launch.constants)
                found.append({**row, "chosen": chosen, **_looked_at(other, tensors, repeats)})
            break
    if not found:
        return {"found": [], "why": "the layer has no such kernel for this shape"}
    for row in found:
        if bandwidth is not None and "seconds" in row:
            row["share"] = bytes_moved / row["seconds"] / bandwidth
    return {"copy_bandwidth": bandwidth, "found": sorted(found, key=lambda row: row.get("seconds", 1.0))}


def _looked_at(launch: Launch, tensors: Mapping[str, Tensor], repeats: int) -> dict[str, Any]:
    values: list[Any] = list(launch.values)
    for place, name in launch.tensors:
        values[place] = tensors[name]
    try:
        kernel = launch.kernel[launch.grid](*values, **launch.constants)
        seconds = {"seconds": gpu_seconds(lambda: launch(tensors), max(5, repeats // 2))} if repeats else {}
    except OutOfResources as error:  # that a tile does not fit is a result too
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    return {"registers": kernel.n_regs, "spilled": kernel.n_spills, **seconds}


def _varied(launch: Launch, given: Mapping[str, Any]) -> Iterator[Launch]:
    """The launch as chosen, and with other tiles, each divided among programs as such tiles would be."""
    yield launch
    _, c, h, w = given["shape"]
    if launch.kernel.__name__.endswith("_on_chip"):
        for warps in (2, 4, 8, 16):
            if warps != launch.constants["num_warps"]:
                yield _anew(launch, launch.grid, {**launch.constants, "num_warps": warps})
        return
    shape = shape_of(given)
    for rows, block, warps in _tiles(c, h * w, shape.channels_last):
        grid, division = divided(shape, rows, block, warps)
        if grid[1] > launch.grid[1]:
            continue  # the buffer has no room for the results of so many programs on one plane
        lanes = {"LANES": block if shape.channels_last else 1} if "LANES" in launch.constants else {}
        if (other := {**division, **lanes}) != launch.constants:
            yield _anew(launch, grid, other)


def _anew(launch: Launch, grid: tuple[int, ...], constants: Mapping[str, int]) -> Launch:
    return Launch(launch.kernel, grid, launch.values, launch.tensors, constants)


def _tiles(channels: int, positions: int, last: bool) -> list[tuple[int, int, int]]:
    """The rows, positions and warps to try."""
    if last:
        sizes = [(64, 16, 4), (64, 32, 4), (64, 64, 8), (64, 64, 4), (32, 64, 4), (128, 16, 4), (32, 32, 2)]
        most = power_of_2(channels)
        return [(rows, block, warps) for rows, block, warps in sizes if rows <= most]
    if positions >= 1024:
        return [(4, 1024, 4), (2, 1024, 4), (1, 2048, 4), (8, 512, 4)]
    block = power_of_2(positions)
    return [(size // block, block, warps) for size in (512, 1024, 2048) for warps in (1, 2, 4) if size >= block]
