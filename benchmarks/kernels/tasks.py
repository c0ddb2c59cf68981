"""Measures the items of each part; the results are the figures of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from benchmarks.kernels import machine, networks, profiling, row_layers, variants
from benchmarks.kernels.contenders import NATIVE, TYPES, WAYS, contender
from benchmarks.kernels.correctness import check, check_rows, random_graphs
from benchmarks.kernels.items import NETWORK_BATCH, RANDOM_GRAPHS
from benchmarks.kernels.timing import copy_bandwidth, gpu_seconds, host_seconds, timed
from evonas.kernels.plan.planner import plan_of
from evonas.language.primitive_table import IndexSet
from evonas.language.zoo import as_graph
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import groups_dividing

HELD = (16384, 8192)
"""The most values in a cell that the registers of a program hold: for x alone, and for x and dy."""
SMALL = (1, 64, 7, 7)
"""A shape for which a call takes hardly longer than its launches."""
Given = Mapping[str, Any]


def input_of(given: Given) -> tuple[Tensor, Tensor]:
    """A random x that requires its gradient, and a random dy."""
    form = torch.channels_last if given["format"] == "nhwc" else torch.contiguous_format
    shape, dtype = tuple(given["shape"]), TYPES[given["dtype"]]
    x, dy = (torch.randn(shape, device="cuda").to(dtype).contiguous(memory_format=form) for _ in range(2))
    return x.requires_grad_(), dy


def floor(given: Given) -> tuple[int, int]:
    """How often a tensor of x's size has to be read or written, forward and backward.

    If a cell, such as a group, does not fit into registers, these are the passes of the streaming plan. Whether our
    kernels do hold a cell that fits does not count here.
    """
    plan, (_, c, h, w) = plan_of(as_graph(given["layer"])), given["shape"]
    channels = {IndexSet.WHCG: c // groups_dividing(c, 32), IndexSet.WHC: c, IndexSet.WH: 1}
    cell = channels.get(plan.cell, 0) * h * w if plan.cell is not None else 0
    forward, backward = (plan.floor[i] if cell <= HELD[i] else plan.passes[i] for i in range(2))
    return forward, backward


def layers(given: Given, repeats: int, ways: tuple[str, ...] = WAYS) -> dict[str, Any]:
    """A layer on a shape, forward and forward with backward, computed in several ways."""
    x, dy = input_of(given)
    size, least = x.numel() * x.element_size(), floor(given)
    bandwidth = copy_bandwidth(x.numel(), x.dtype, repeats)
    row: dict[str, Any] = {"bytes_of_x": size, "floor": least, "copy_bandwidth": bandwidth}
    for way in ways:
        if way.startswith(NATIVE) and given["layer"] != "bn-relu":
            continue  # measured once a shape
        module = contender(way, given["layer"], given["shape"][1])
        x.grad = None
        try:
            row[way] = timed(partial(_alone, module, x), [x], [dy], repeats)
        except torch.OutOfMemoryError:
            row[way] = {"failed": "out of memory"}
            continue
        finally:
            x.grad = None
            torch.cuda.empty_cache()
        row[way]["share_forward"] = least[0] * size / row[way]["forward"] / bandwidth
        row[way]["share_both"] = sum(least) * size / row[way]["both"] / bandwidth
    return row


def _alone(module: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor]:
    return (module(x),)


def compiled(given: Given, repeats: int) -> dict[str, Any]:
    """The same for the reference under `torch.compile`, with our kernels again for comparison."""
    return layers(given, repeats, ("ours", given["mode"]))


def launches(given: Given, repeats: int) -> dict[str, Any]:
    """Each kernel of our layer on its own: its seconds, and the share of a copy's bandwidth that it reaches."""
    x, _ = input_of(given)
    bandwidth = copy_bandwidth(x.numel(), x.dtype, repeats)
    found = []
    for launch, tensors, moved in variants.launches(given):
        seconds = gpu_seconds(partial(launch, tensors), repeats)
        share = moved * x.numel() * x.element_size() / seconds / bandwidth
        row = {"kernel": launch.kernel.__name__, "programs": prod(launch.grid), **launch.constants}
        found.append({**row, "seconds": seconds, "moved": moved, "share": share})
    return {"copy_bandwidth": bandwidth, "kernels": found}


def host(given: Given, repeats: int) -> dict[str, Any]:
    """The time of a call on a small tensor, and whether a CUDA graph of a training step gives the same result."""
    x, dy = input_of({**given, "shape": SMALL, "dtype": "float32", "format": "nchw"})
    row: dict[str, Any] = {"shape": list(SMALL)}
    for way in ("ours", NATIVE):
        module = contender(way, given["layer"], SMALL[1])
        row[way] = timed(partial(_alone, module, x), [x], [dy], 10 * repeats)
    norm = torch.nn.BatchNorm2d(SMALL[1]).cuda()
    with torch.no_grad():
        row["nn.BatchNorm2d"] = {"host_forward": host_seconds(lambda: norm(x), 10 * repeats)}
    graph = _captured(given["layer"], x, dy, repeats)
    # The same kernels on the same numbers give the same bits.
    return row | {"graph": graph} | ({"failed": f"a replay is off by {graph['off']:.2g}"} if graph["off"] else {})


def _captured(layer: str, x: Tensor, dy: Tensor, repeats: int) -> dict[str, Any]:
    """A captured training step of the layer: its difference from the plain one, and the time of a replay."""
    module = NormAct(layer, x.shape[1], backend="triton", device="cuda")
    x = x.detach().clone().requires_grad_()
    (wanted,) = torch.autograd.grad(module(x), x, dy)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            torch.autograd.grad(module(x), x, dy)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        (found,) = torch.autograd.grad(module(x), x, dy)
    found.zero_()
    graph.replay()
    off = float((found - wanted).abs().max())
    return {"off": off, "seconds": gpu_seconds(graph.replay, repeats)}


def network(given: Given, repeats: int) -> dict[str, Any]:
    """Training steps of ResNet-50."""
    try:
        return networks.measured(given["layer"], given["way"], TYPES[given["dtype"]], NETWORK_BATCH, repeats)
    except torch.OutOfMemoryError:
        return {"failed": "out of memory"}


def correctness(given: Given, device: str = "cuda") -> dict[str, Any]:
    """The differences between a layer's kernels and the reference, as a list of sentences."""
    if "width" in given:
        of_row = given["layer"], given["width"], given["rows"], TYPES[given["dtype"]]
        return {"wrong": check_rows(*of_row, of_sum=given["sum"], device=device)}
    b, c, h, w = given["shape"]
    form = {"channels_last": given["format"] == "nhwc", "device": device}
    if "random" in given:
        label, graph = random_graphs(RANDOM_GRAPHS)[given["random"]]
        found = check(graph, (b, c, h, w), **form)
        return {"graph": label, "expression": graph.written(), "wrong": found}
    dtype, training = TYPES[given["dtype"]], given["training"]
    return {"wrong": check(as_graph(given["layer"]), (b, c, h, w), dtype, training=training, **form)}


def done(part: str, given: Given, repeats: int) -> dict[str, Any]:
    """The figures of an item's row."""
    functions: dict[str, Callable[[Given, int], dict[str, Any]]] = {
        "layers": layers,
        "compiled": compiled,
        "launches": launches,
        "rows": row_layers.measured,
        "host": host,
        "networks": network,
        "variants": variants.measured,
        "profile": profiling.profiled,
    }
    if part == "machine":
        return machine.described(repeats)
    return functions[part](given, repeats)
