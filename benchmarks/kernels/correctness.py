"""Kernels on this machine against the reference in float64."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from evonas.filters import CheapFilters, Passed, Tally
from evonas.graph import Graph
from evonas.layer import NormAct
from evonas.published import zoo
from evonas.search_spaces import SPACES
from evonas.space import generator

SHAPES = ((2, 64, 14, 14), (3, 7, 41, 41), (1, 41, 7, 7), (8, 32, 1, 1), (4, 128, 56, 56))


def graphs(random: int) -> Iterator[tuple[str, Graph]]:
    """The zoo, and random graphs of both spaces that pass the cheap filters."""
    yield from zoo.items()
    for space in SPACES.values():
        filters, seed, found = CheapFilters(), 0, 0
        while found < random // len(SPACES):
            graph = space.random_graph(generator(seed))
            if isinstance(filters.judge(graph, Tally()), Passed):
                found += 1
                yield f"{space.name} {seed}", graph
            seed += 1


def check(graph: Graph, number: int, device: str) -> list[str]:
    """What differs, in words; nothing when the kernels are right."""
    shape, last = SHAPES[number % len(SHAPES)], bool(number // len(SHAPES) % 2)
    source = torch.Generator().manual_seed(number)
    exact = NormAct(graph, shape[1], backend="reference", dtype=torch.float64)
    with torch.no_grad():
        for p in exact.parameters():
            p.add_(torch.rand(p.shape, generator=source, dtype=p.dtype) * 0.5)
    x = torch.randn(shape, generator=source, dtype=torch.float64) * 1.5 + 0.25
    dy = torch.randn(shape, generator=source, dtype=torch.float64)
    form = torch.channels_last if last else torch.contiguous_format
    x, dy, exact = (
        x.to(device).contiguous(memory_format=form),
        dy.to(device).contiguous(memory_format=form),
        exact.to(device),
    )
    rough, ours = copy.deepcopy(exact).float(), NormAct(graph, shape[1], backend="triton", device=device)
    ours.load_state_dict(rough.state_dict())
    wanted, near, found = _run(exact, x, dy), _run(rough, x.float(), dy.float()), _run(ours, x.float(), dy.float())
    faults = []
    for name, right in wanted.items():
        held = right.isfinite() & near[name].isfinite()
        if not bool(held.any()):
            continue
        lost = float((near[name].double() - right)[held].abs().max())
        error = float((found[name].double() - right)[held].abs().max())
        # As in the tests: float32's rounding of what a layer is made of, and what the reference loses by it.
        allowed = max(1e-4 * max(1.0, float(right[held].abs().max())), 20 * lost)
        if not error <= allowed:
            faults.append(f"{name} is off by {error:.2g}, {allowed:.2g} allowed")
    return faults


def _run(layer: NormAct, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    named: dict[str, Any] = {"x": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(y, list(named.values()), dy, allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True))
    return {"y": y.detach(), **dict(zip(named, zeros, strict=True)), **dict(layer.named_buffers())}
