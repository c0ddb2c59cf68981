"""Triton kernels under Triton's interpreter, against the reference in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from evonas.filters import CheapFilters, Passed, Tally
from evonas.graph import Graph
from evonas.kernels.compiled import Settings
from evonas.kernels.triton_run import TritonLayer
from evonas.layer import NormAct
from evonas.published import zoo
from evonas.reference import groups_dividing
from evonas.search_spaces import SPACES
from evonas.space import generator

SHAPES = [(2, 4, 5, 3), (3, 7, 1, 1), (1, 41, 7, 7), (2, 1, 3, 3)]


def compare(
    graph: Graph, shape: tuple[int, ...], *, training: bool = True, channels_last: bool = False, on_chip: bool = True
) -> None:
    random = torch.Generator().manual_seed(0)
    reference = NormAct(graph, shape[1], groups=2, dtype=torch.float64).train(training)
    with torch.no_grad():
        for tensor in (*reference.parameters(), *reference.buffers()):
            tensor.add_(torch.rand(tensor.shape, generator=random, dtype=torch.float64) * 0.5)
    x = torch.randn(shape, generator=random, dtype=torch.float64) * 1.5 + 0.25
    dy = torch.randn(shape, generator=random, dtype=torch.float64)
    rough = by_reference(copy.deepcopy(reference).float(), x.float(), dy.float())
    running = {name: b.float() for name, b in reference.named_buffers()}
    vectors = {name: p.detach().float() for name, p in reference.named_parameters()} | running
    right = by_reference(reference, x, dy)

    layer = TritonLayer(graph, training, on_chip)
    form = torch.channels_last if channels_last else torch.contiguous_format
    x, dy = (t.float().contiguous(memory_format=form) for t in (x, dy))
    settings = Settings(groups_dividing(shape[1], 2), reference.eps, reference.momentum)
    y, stats = layer.forward(x, vectors, settings)
    found = {"y": y} | layer.backward(dy, x, stats, vectors, settings)
    found |= running
    assert set(found) == set(right)
    # Where a cell is one value its deviation is √eps, and what cancels in gradients is so many times larger.
    scale = reference.eps**-0.5 if x[0, 0].numel() == 1 else 1.0
    for name, exact in right.items():
        held = rough[name].isfinite() & exact.isfinite()  # by float32
        exact, given = exact[held], found[name].double()[held]
        size = max(1.0 if name == "y" else scale, float(exact.abs().max()) if len(exact) else 0.0)
        # float32 rounds to 6e-8; sums of a few hundred values, and roots and quotients of them, to some hundred
        # times it. What cancels loses more, in the float32 of the reference as well, within a factor.
        lost = float((rough[name][held].double() - exact).abs().max()) if len(exact) else 0.0
        close = {"rtol": 1e-4, "atol": max(2e-5 * size, 20 * lost)}
        torch.testing.assert_close(given, exact, **close, msg=lambda m, name=name: f"{name}: {m}")


def by_reference(layer: NormAct, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """The value, every gradient and every running value."""
    x = x.clone().requires_grad_()
    y = layer(x)
    named = {"x": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(y, list(named.values()), dy, allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True))
    return {"y": y.detach(), **dict(zip(named, zeros, strict=True)), **dict(layer.named_buffers())}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("channels_last", "on_chip"), [(False, True), (True, True), (False, False), (True, False)])
@pytest.mark.parametrize("name", zoo)
def test_the_zoo(name: str, channels_last: bool, on_chip: bool, shape: tuple[int, ...]) -> None:
    compare(zoo[name], shape, channels_last=channels_last, on_chip=on_chip)


@pytest.mark.parametrize("name", zoo)
def test_the_zoo_in_evaluation(name: str) -> None:
    compare(zoo[name], SHAPES[0], training=False)


def candidates(count: int) -> list[tuple[str, Graph]]:
    """Random graphs of both spaces that pass the cheap filters, with what reproduces each."""
    found = []
    for space in SPACES.values():
        filters, seed = CheapFilters(), 0
        for _ in range(count):
            while not isinstance(filters.judge(graph := space.random_graph(generator(seed)), Tally()), Passed):
                seed += 1
            found.append((f"{space.name} {seed}", graph))
            seed += 1
    return found


def compare_many(count: int) -> None:
    for number, (label, graph) in enumerate(candidates(count)):
        shape = SHAPES[number % len(SHAPES)]
        try:
            compare(graph, shape, channels_last=number % 3 == 0, training=number % 5 != 0, on_chip=number % 2 == 0)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{label} on {shape}: {graph.written()}") from error


def test_random_candidates() -> None:
    compare_many(250)
