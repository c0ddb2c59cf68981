"""Triton kernels under Triton's interpreter, against the reference in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from evonas.filters import CheapFilters, Passed, Tally
from evonas.graph import Graph
from evonas.kernels.triton_run import Settings, TritonLayer
from evonas.layer import NormAct
from evonas.published import zoo
from evonas.reference import groups_dividing
from evonas.search_spaces import SPACES
from evonas.space import generator

SHAPES = [(2, 4, 5, 3), (3, 7, 1, 1), (1, 41, 7, 7), (2, 1, 3, 3)]


def compare(graph: Graph, shape: tuple[int, ...], *, training: bool = True, channels_last: bool = False) -> None:
    random = torch.Generator().manual_seed(0)
    reference = NormAct(graph, shape[1], groups=2, dtype=torch.float64).train(training)
    with torch.no_grad():
        for tensor in (*reference.parameters(), *reference.buffers()):
            tensor.add_(torch.rand(tensor.shape, generator=random, dtype=torch.float64) * 0.5)
    x = torch.randn(shape, generator=random, dtype=torch.float64) * 1.5 + 0.25
    dy = torch.randn(shape, generator=random, dtype=torch.float64)
    running = torch.stack([b.float() for b in reference.buffers()]) if list(reference.buffers()) else None
    parameters = {name: p.detach().float() for name, p in reference.named_parameters()}
    layer = TritonLayer(graph, training)
    form = torch.channels_last if channels_last else torch.contiguous_format
    given = [t.float().contiguous(memory_format=form) for t in (x, dy)]
    settings = Settings(groups_dividing(shape[1], 2), reference.eps, reference.momentum)
    y, stats = layer.forward(given[0], parameters, running, settings)
    x.requires_grad_()
    right = reference(x)
    close(y, right, "y")
    right.backward(dy)
    found = layer.backward(given[1], given[0], stats, parameters, running, settings)
    # Where a cell is one value its deviation is √eps, and what cancels is so many times larger.
    scale = reference.eps**-0.5 if x[0, 0].numel() == 1 else 1.0
    close(found["x"], x.grad, "dx", scale)
    for name, parameter in reference.named_parameters():
        right = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        close(found[name], right, f"d_{name}", scale)
    for row, (name, buffer) in enumerate(reference.named_buffers()):
        assert running is not None
        close(running[row], buffer, name)


def close(found: Tensor, right: Tensor | None, name: str, scale: float = 1.0) -> None:
    assert right is not None
    size = max(scale, float(right.detach().abs().max()))
    # float32 rounds to 6e-8; sums of a few hundred values, and roots and quotients of them, to some hundred times it.
    torch.testing.assert_close(
        found.double(), right.detach(), rtol=1e-4, atol=2e-5 * size, msg=lambda m: f"{name}: {m}"
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", zoo)
def test_the_zoo(name: str, channels_last: bool, shape: tuple[int, ...]) -> None:
    compare(zoo[name], shape, channels_last=channels_last)


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
            compare(graph, shape, channels_last=number % 3 == 0, training=number % 5 != 0)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{label} on {shape}: {graph.written()}") from error


def test_random_candidates() -> None:
    compare_many(20)


@pytest.mark.slow
def test_five_hundred_random_candidates() -> None:
    compare_many(250)
