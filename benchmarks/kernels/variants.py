"""Kernels as they are beside kernels as they might be: other tiles, and three changes of the text.

Changes are made to the text of a layer's file, so that they can be measured before the compiler writes them:

- `accumulate`: each thread adds up what it sees, and threads are merged once, after the loop over positions.
- `split`: several programs share a plane. Their partial results are not merged here, which is cheap beside the loop, so
  this tells what a kernel takes and not what it finds.
- `constant`: sizes and strides are constants of the kernel, so that the compiler knows what divides them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels.contenders import TYPES
from benchmarks.kernels.timing import copy_bandwidth, gpu_seconds
from evonas.kernels.launches import Launch, Launches
from evonas.kernels.on_chip import OnChipKernels
from evonas.kernels.tiles import Shape, power_of_2, tiles
from evonas.kernels.triton_module import load
from evonas.kernels.triton_run import TritonLayer
from evonas.layer import NormAct, running_names
from evonas.published import as_graph
from evonas.reference import groups_dividing

CHANGES: Mapping[str, tuple[str, ...]] = {
    "as it is": (),
    "accumulate": ("accumulate",),
    "split": ("split",),
    "constant": ("constant",),
    "accumulate, split": ("accumulate", "split"),
    "split, constant": ("split", "constant"),
    "accumulate, split, constant": ("accumulate", "split", "constant"),
}
_TRIED = {
    "reduces": ("as it is", "accumulate", "accumulate, split", "accumulate, split, constant"),
    "writes": ("as it is", "split", "split, constant"),
    "on_chip": ("as it is", "constant"),
}
"""Which changes are made to which kernels: those that reduce in a loop, those that only write, those without a loop."""
_PROGRAMS = 8 * 132
"""Programs that a split aims at: eight for each multiprocessor of an H100."""
_SIZES = ("B", "C", "HW", "G", "planes", "stride_b", "stride_c", "stride_p")
_LOOP = "    for start in range(0, HW, BLOCK):"
_WHOLE = "    first = 0\n    last = HW\n"
_OF_X = ("x", "y", "dy", "dx")


def accumulating(text: str) -> str:
    """The file with sums and moments kept by each thread, and merged after the loop."""
    return "\n\n\n".join(_accumulating(kernel) for kernel in text.split("\n\n\n"))


def _accumulating(kernel: str) -> str:
    summed = re.findall(r"^        (\w+) \+= plane_sum\((.*), here\)$", kernel, re.M)
    for name, value in summed:
        kernel = kernel.replace(f"{name} += plane_sum({value}, here)", f"{name} += tl.where(here, {value}, 0.0)")
        kernel = kernel.replace(f"    {name} = tl.zeros([R], ", f"    {name} = tl.zeros([R, BLOCK], ")
        kernel = kernel.replace(f"    {name} = {name} / HW", f"    {name} = tl.sum({name}, axis=1) / HW")
    merged = r"^        (\w+), (\w+) = merged\(\1, \2, start \* 1.0, (.*), here, more\)$"
    for mean, var, value in re.findall(merged, kernel, re.M):
        old = f"{mean}, {var} = merged({mean}, {var}, start * 1.0, {value}, here, more)"
        new = [
            f"change = {value} - {mean}",
            f"{mean} = tl.where(here, {mean} + change * (1.0 / ((start - first) // BLOCK + 1)), {mean})",
            f"{var} = tl.where(here, {var} + change * ({value} - {mean}), {var})",
        ]
        kernel = kernel.replace(old, "\n        ".join(new))
        for name in (mean, var):
            kernel = kernel.replace(f"    {name} = tl.zeros([R], ", f"    {name} = tl.zeros([R, BLOCK], ")
        whole = [
            "count = tl.maximum((last - first - tl.arange(0, BLOCK)[None, :] + BLOCK - 1) // BLOCK, 0) * 1.0",
            f"whole = tl.sum({mean} * count, axis=1) / (last - first)",
            f"{var} = tl.sum({var} + count * square({mean} - whole[:, None]), axis=1) / HW",
            f"{mean} = whole",
        ]
        kernel = kernel.replace(f"    {var} = {var} / HW", "    " + "\n    ".join(whole))
        kernel = re.sub(r"^        more = .*\n", "", kernel, flags=re.M)
    if summed or re.search(r"\bfirst\b", kernel):
        kernel = kernel.replace(_LOOP, f"{_WHOLE}{_LOOP}")
    return kernel


def splitting(text: str) -> str:
    """The file with the loop over positions shared by the programs along the grid's second axis."""
    text = text.replace(_WHOLE, "")
    shared = [
        "    first = tl.program_id(1) * (tl.cdiv(tl.cdiv(HW, BLOCK), tl.num_programs(1)) * BLOCK)",
        "    last = tl.minimum(HW, first + tl.cdiv(tl.cdiv(HW, BLOCK), tl.num_programs(1)) * BLOCK)",
        "    for start in range(first, last, BLOCK):",
    ]
    text = text.replace(_LOOP, "\n".join(shared))
    return text.replace("more = tl.minimum(HW - start,", "more = tl.minimum(last - start,")


def constant(text: str) -> str:
    """The file with sizes and strides as constants of each kernel."""

    def head(found: re.Match[str]) -> str:
        return re.sub(rf"\b({'|'.join(_SIZES)})(?=[,)])", r"\1: tl.constexpr", found[0])

    return re.sub(r"^def \w+\(.*?\):$", head, text, flags=re.M | re.S)


_EDITS = {"accumulate": accumulating, "split": splitting, "constant": constant}


def changed(text: str, change: str) -> str:
    """The text of a layer's file after one of `CHANGES`."""
    for edit in CHANGES[change]:
        text = _EDITS[edit](text)
    return text


def launches(
    given: Mapping[str, Any], change: str = "as it is", on_chip: bool = True
) -> Iterator[tuple[Launch, dict[str, Tensor], int]]:
    """The launches of a layer's training step in order, what they run on, and how many tensors like x each moves.

    What one finds the next one reads, so they have to be run in order once.
    """
    b, c, h, w = given["shape"]
    shape = Shape(b, c, h * w, groups_dividing(c, 32), given["format"] == "nhwc" and h * w > 1)
    graph = as_graph(given["layer"])
    layer = TritonLayer(graph, True, on_chip)
    module, names = load(changed(layer.source, change)), running_names(graph)
    cells = OnChipKernels(layer.plan, names)
    work = Launches(layer.kernels, cells, lambda name: getattr(module, name), on_chip).of(shape, 1e-5, 0.1)
    form = torch.channels_last if given["format"] == "nhwc" else torch.contiguous_format
    tensors = {
        name: torch.randn(b, c, h, w, device="cuda").to(TYPES[given["dtype"]]).contiguous(memory_format=form)
        for name in _OF_X
    }
    module_of = NormAct(graph, c, device="cuda")
    tensors |= {name: p.detach() for name, p in (*module_of.named_parameters(), *module_of.named_buffers())}
    tensors["stats"] = torch.zeros(work.stats, device="cuda")
    tensors["totals"] = torch.zeros(work.totals, device="cuda")
    tensors["densities"] = torch.zeros(len(layer.kernels.densities), b, c, device="cuda")
    for launch in (*work.forward, *work.backward):
        launch(tensors)
        yield launch, tensors, sum(name in _OF_X for _, name in launch.tensors)


def measured(given: Mapping[str, Any], repeats: int) -> dict[str, Any]:
    """One kernel of a layer with every change and tile: seconds, registers, spilled bytes, programs.

    Args:
        given: an item's; its `kernel` is one of `items.KERNELS`.
        repeats: of each timing; 0 runs each once, which compiles it, and times nothing.
    """
    on_chip = given["kernel"].endswith("_on_chip")
    found: list[dict[str, Any]] = []
    share = 0.0
    for change in _TRIED["on_chip" if on_chip else "writes" if given["kernel"].startswith("write") else "reduces"]:
        for launch, tensors, moved in launches(given, change, on_chip):
            if launch.kernel.__name__ != given["kernel"]:
                continue
            share = moved * tensors["x"].numel() * tensors["x"].element_size()
            for other in _varied(launch, given, change):
                row: dict[str, Any] = {"change": change, "grid": list(other.grid), **other.constants}
                found.append({**row, **_looked_at(other, tensors, repeats)})
            break
    if not found:
        return {"found": [], "why": "the layer has no such kernel for this shape"}
    bandwidth = copy_bandwidth(tensors["x"].numel(), tensors["x"].dtype, repeats) if repeats else None
    for row in found:
        if bandwidth is not None and "seconds" in row:
            row["share"] = share / row["seconds"] / bandwidth
    return {"copy_bandwidth": bandwidth, "found": sorted(found, key=lambda row: row.get("seconds", 1.0))}


def _looked_at(launch: Launch, tensors: Mapping[str, Tensor], repeats: int) -> dict[str, Any]:
    values: list[Any] = list(launch.values)
    for place, name in launch.tensors:
        values[place] = tensors[name]
    try:
        kernel = launch.kernel[launch.grid](*values, **launch.constants)
        seconds = {"seconds": gpu_seconds(lambda: launch(tensors), max(5, repeats // 2))} if repeats else {}
    except Exception as error:  # a tile that does not fit is a finding
        return {"failed": f"{type(error).__name__}: {error}"[:200]}
    return {"registers": kernel.n_regs, "spilled": kernel.n_spills, **seconds}


def _varied(launch: Launch, given: Mapping[str, Any], change: str) -> Iterator[Launch]:
    b, c, h, w = given["shape"]
    if launch.kernel.__name__.endswith("_on_chip"):
        for warps in (1, 2, 4, 8, 16):
            yield replace(launch, constants={**launch.constants, "num_warps": warps})
        return
    for rows, block, warps in _tiles(c, h * w, given["format"] == "nhwc"):
        programs = b * tiles(c, rows)
        pieces = min(tiles(_PROGRAMS, programs), tiles(h * w, block)) if "split" in change else 1
        if "split" in change and pieces == 1:
            continue
        yield replace(launch, grid=(programs, pieces), constants={"R": rows, "BLOCK": block, "num_warps": warps})


def _tiles(channels: int, positions: int, last: bool) -> list[tuple[int, int, int]]:
    """Rows, positions and warps to try."""
    if last:
        sizes = [
            (64, 16, 4),
            (64, 32, 4),
            (64, 64, 4),
            (64, 64, 8),
            (32, 64, 4),
            (128, 16, 4),
            (128, 32, 8),
            (256, 8, 4),
        ]
        most = power_of_2(channels)
        return [(rows, block, warps) for rows, block, warps in sizes if rows <= most]
    if positions >= 1024:
        return [(4, 1024, 4), (2, 1024, 4), (1, 1024, 4), (1, 2048, 4), (2, 2048, 8), (8, 512, 4)]
    block = power_of_2(positions)
    return [(size // block, block, warps) for size in (512, 1024, 2048, 4096) for warps in (2, 4) if size >= block]
