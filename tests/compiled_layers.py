"""Compiled layers held against the reference in float64."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Callable

import torch
from torch import Tensor

from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.kernels.compiled_layer import CompiledLayer, Settings
from evonas.language.graph import Graph
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import groups_dividing
from evonas.settings.search_space import generator
from tests.strategies import OF_PLANES

SMALL = (
    "max(square(square(square(x))), 0)",
    "-max(square(square(square(x))), 0)",
    "mean_wh(exp(-square(x + exp(exp(v1)))))",
    "max(mean_wh(exp(-square(x + exp(exp(v1))))), exp(-square(x + exp(exp(v1)))))",
)
"""Divisors below eps, some of them only at a few positions, that the compiler cannot know to be beyond the clamp."""
RUNNING = (
    "x / std_bwh(x) + mean_wh(tanh(x / std_bwh(x)))",
    "x / std_bwh(tanh(x / rms_bwh(x))) + mean_bwh(v1)",
    "x * mean_bwh(std_whcg(x)) / std_whc(tanh(x * rms_bwh(x)))",
    "x * rms_bwh(mean_bwh(tanh(x)))",
)
"""Layers whose running values become known after different sweeps, or without a sweep."""
NARROW = (
    "x * std_bwh(mean_whcg(x)) + mean_bwh(rms_whc(x))",
    "x / std_whcg(v1) + mean_whcg(v1 * v0)",
    "x * rms_whc(v1) / std_whc(std_whcg(x))",
    "x * mean_bwh(std_whcg(tanh(x)) * mean_whcg(v1))",
)
"""Layers with statistics of every extent: of a group, a group of a sample, a sample, a channel, and single numbers."""
BRACKETS = (
    "tanh(-(x + v0)) + sigmoid(-(x - v1)) + (x + v0) * (x - v1) - (x - (v0 - v1) * x)"
    " + x / (v1 * std_wh(x)) / (x / std_wh(x)) + tanh(-(mean_wh(x) + v0) * x)"
)
_LATE = "std_wh(tanh(x / std_wh(x)))"
LATER = (
    *(f"x * {_LATE}", f"{_LATE} * x", f"x / {_LATE}", f"x + {_LATE}", f"{_LATE} - x"),
    f"x * v1 + {_LATE} * mean_wh(x)",
)
"""Arguments of statistics that depend on the results of a first and of a second sweep, in several forms."""
UNEVEN = (2, 6, 4, 3)
"""Two groups of three channels, so that a number of groups cannot be mistaken for a number of channels."""
SHAPES = [(2, 4, 5, 3), (3, 7, 1, 1), (1, 41, 7, 7), (2, 1, 3, 3)]


def compare(
    graph: Graph,
    shape: tuple[int, ...],
    compiled: Callable[[Graph, bool], CompiledLayer],
    *,
    training: bool = True,
    channels_last: bool = False,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Compares value, gradients and running values with the reference.

    Args:
        graph: the layer before its affine.
        shape: the shape of x; there are two groups if its channels are divisible by two.
        compiled: makes the compiled layer from a graph and whether it is for training.
        training: whether statistics over the batch are computed from x.
        channels_last: the memory format.
        dtype: the type of x.
    """
    random = torch.Generator().manual_seed(0)
    reference = NormAct(graph, shape[1], groups=2, dtype=torch.float64, backend="reference").train(training)
    with torch.no_grad():
        for tensor in (*reference.parameters(), *reference.buffers()):
            tensor.add_(torch.rand(tensor.shape, generator=random, dtype=torch.float64) * 0.5)
    x = torch.randn(shape, generator=random, dtype=torch.float64) * 1.5 + 0.25
    dy = torch.randn(shape, generator=random, dtype=torch.float64)
    rough = by_reference(copy.deepcopy(reference).to(dtype), x.to(dtype), dy.to(dtype))
    running = {name: b.to(dtype) if dtype != b.dtype else b.clone() for name, b in reference.named_buffers()}
    parameters = {name: p.detach().to(dtype) for name, p in reference.named_parameters()}
    # Kernels take a scalar as a vector that repeats it.
    vectors = {name: p.expand(shape[1]).contiguous() for name, p in parameters.items()} | running
    right = by_reference(reference, x, dy)

    layer = compiled(graph, training)
    form = torch.channels_last if channels_last else torch.contiguous_format
    x, dy = (t.to(dtype).contiguous(memory_format=form) for t in (x, dy))
    settings = Settings(groups_dividing(shape[1], 2), reference.eps, reference.momentum)
    y, stats = layer.forward(x, vectors, settings)
    found = {"y": y} | layer.backward(dy, x, stats, vectors, settings)
    found |= {name: found[name].sum() for name, p in parameters.items() if p.dim() == 0} | running
    assert set(found) == set(right)
    # Where a cell is one value its deviation is √eps, and what cancels in gradients is so many times larger.
    scale = reference.eps**-0.5 if x[0, 0].numel() == 1 else 1.0
    assert_close_to_exact(found, right, rough, dtype, scale)


def assert_close_to_exact(
    found: dict[str, Tensor], right: dict[str, Tensor], rough: dict[str, Tensor], dtype: torch.dtype, scale: float
) -> None:
    """Compares what kernels found with the reference in float64, as closely as the reference in `dtype` comes to it.

    Gradients that are smaller than `scale` are held as closely as those of that size.
    """
    unit = torch.finfo(dtype).eps
    for name, exact in right.items():
        held = rough[name].isfinite() & exact.isfinite()  # by the type
        exact, given = exact[held], found[name].double()[held]
        size = max(1.0 if name == "y" else scale, float(exact.abs().max()) if len(exact) else 0.0)
        # A unit is the spacing of numbers near 1; sums of a few hundred values, and roots and quotients of them, lose
        # some hundreds of it. Cancellation loses more, and in the reference as well, up to a factor.
        lost = float((rough[name][held].double() - exact).abs().max()) if len(exact) else 0.0
        close = {"rtol": 1000 * unit, "atol": max(170 * unit * size, 20 * lost)}
        torch.testing.assert_close(given, exact, **close, msg=lambda m, name=name: f"{name}: {m}")


def by_reference(layer: NormAct, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    """The value, every gradient and every running value."""
    x = x.clone().requires_grad_()
    y = layer(x)
    named = {"x": x, **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(y, list(named.values()), dy, allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True))
    return {"y": y.detach(), **dict(zip(named, zeros, strict=True)), **dict(layer.named_buffers())}


def candidates(count: int) -> list[tuple[str, Graph]]:
    """Random graphs of some spaces that pass the cheap filters, each with a label that reproduces it."""
    found = []
    for space in OF_PLANES:
        filters, seed = CheapFilters(), 0
        for _ in range(count):
            while not isinstance(filters.judge(graph := space.random_graph(generator(seed)), Tally()), Passed):
                seed += 1
            found.append((f"{space.name} {seed}", graph))
            seed += 1
    return found


def compare_many(
    count: int, compiled: Callable[[Graph, bool, int], CompiledLayer], dtype: Callable[[int], torch.dtype]
) -> None:
    """Compares random graphs of some spaces with the reference, over shapes, memory formats and modes.

    Args:
        count: the number of graphs from each space.
        compiled: as for `compare`, but it receives the number of the graph too.
        dtype: gives the type of the input from the number of the graph.
    """
    for number, (label, graph) in enumerate(candidates(count)):
        shape = SHAPES[number % len(SHAPES)]
        form = {"channels_last": number % 3 == 0, "training": number % 5 != 0, "dtype": dtype(number)}
        try:
            compare(graph, shape, lambda graph, training, n=number: compiled(graph, training, n), **form)
        except (AssertionError, RuntimeError) as error:
            raise AssertionError(f"{label} on {shape}, {form}: {graph.written()}") from error


def at_once(work: Callable[[str], None], argument: str) -> None:
    """Runs the same work in three processes, all of which must succeed."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(argument,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 3
