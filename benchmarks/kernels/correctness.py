"""Compares kernels on this machine with the reference in float64."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.language.graph import Graph
from evonas.language.zoo import as_graph
from evonas.layers.add_norm import AddNorm
from evonas.layers.norm_act import NormAct
from evonas.layers.reference import groups_dividing
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

SHAPES = ((2, 64, 14, 14), (3, 7, 41, 41), (1, 41, 7, 7), (8, 32, 1, 1), (4, 128, 56, 56))
_ROUNDING = {torch.float32: 0.0, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-10}
"""The relative error that storing a value in a type may cause: twice that of rounding to nearest, since the value
before is not exact either. The rounding of float32 is part of the tolerance anyway."""
_STORED = ("x", "residual", "y", "r")
"""What is stored in the type of the input."""
_MAY_DIFFER = 1e-5
_SMALLEST = 2.0**-24
"""Half of the spacing of float16 next to zero."""


_SPACES = (SPACES["evonorm"], SPACES["evonorm-s"])


@cache
def random_graphs(count: int) -> tuple[tuple[str, Graph], ...]:
    """Random graphs of both published spaces that pass the cheap filters, each with a label; the same every time."""
    graphs: list[tuple[str, Graph]] = []
    for space in _SPACES:
        filters, seed, found = CheapFilters(), 0, 0
        while found < count // len(_SPACES):
            graph = space.random_graph(generator(seed))
            if isinstance(filters.judge(graph, Tally()), Passed):
                found += 1
                graphs.append((f"{space.name} {seed}", graph))
            seed += 1
    return tuple(graphs)


def check(
    graph: Graph,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype = torch.float32,
    *,
    training: bool = True,
    channels_last: bool = False,
    device: str = "cuda",
) -> list[str]:
    """Compares kernels with the reference; returns a sentence for each difference, and none if the kernels are right.

    The output, the gradients of x and of the parameters, and the running values are compared, for random inputs and
    parameters that the type can represent.

    Args:
        graph: the layer.
        shape, dtype, channels_last: shape, type and memory format of the input.
        training: whether the layer is in training mode.
        device: the device; `cpu` runs kernels in Triton's interpreter.
    """
    source = torch.Generator().manual_seed(sum(shape))
    exact = NormAct(graph, shape[1], backend="reference", dtype=torch.float64).train(training)
    with torch.no_grad():
        for p in (*exact.parameters(), *exact.buffers()):
            p.copy_((p + torch.rand(p.shape, generator=source, dtype=p.dtype) * 0.5).float())
    form = torch.channels_last if channels_last else torch.contiguous_format
    x, dy = (
        (torch.randn(shape, generator=source) * scale + shift).to(device, dtype).contiguous(memory_format=form)
        for scale, shift in ((1.5, 0.25), (1.0, 0.0))
    )
    ours = NormAct(graph, shape[1], backend="triton", device=device).train(training)
    return _faults(exact.to(device), ours, [x], [dy], _lone(exact, shape))


def check_rows(
    layer: str, width: int, rows: int, dtype: torch.dtype, *, of_sum: bool, device: str = "cuda"
) -> list[str]:
    """Compares kernels of rows with the reference, as `check` does; returns a sentence for each difference.

    Args:
        layer: a name from the zoo or an expression, of a layer for tokens.
        width: the number of channels, which are those of a row.
        rows: the number of rows.
        dtype: the type of the input.
        of_sum: whether to compare the layer of a sum, which the kernels return too. The residual is such that the sum
            has no rounding: a layer of a sum is one of the sum as it is stored.
        device: the device; `cpu` runs kernels in Triton's interpreter.
    """
    source = torch.Generator().manual_seed(width + rows)
    kind = AddNorm if of_sum else NormAct
    exact = kind(as_graph(layer), width, dim=-1, backend="reference", dtype=torch.float64)
    with torch.no_grad():
        for p in exact.parameters():
            p.copy_((p + torch.rand(p.shape, generator=source, dtype=p.dtype) * 0.5).float())
    given = [torch.randn(rows, width, generator=source).to(device, dtype) for _ in range(4)]
    if of_sum:
        x, residual = given[0], (given[0] + given[1]) - given[0]
        given[1] = residual.where(x.double() + residual.double() == (x + residual).double(), 0.0)
    ours = kind(as_graph(layer), width, dim=-1, backend="triton", device=device)
    count = 2 if of_sum else 1
    return _faults(exact.to(device), ours, given[:count], given[2 : 2 + count], lone=width == 1)


def _faults(exact: NormAct, ours: NormAct, x: list[Tensor], dy: list[Tensor], lone: bool) -> list[str]:
    """A sentence for each difference between `ours`, which takes the state of `exact`, and `exact` in float64.

    Args:
        exact: the reference in float64.
        ours: the layer by kernels.
        x: the inputs.
        dy: the gradients of the results.
        lone: whether a cell is a single value, whose standard deviation is √eps.
    """
    dtype, rough = x[0].dtype, copy.deepcopy(exact).float()
    ours.load_state_dict(rough.state_dict())
    wanted, near, found = (
        _run(layer, [cast(t) for t in x], [cast(t) for t in dy])
        for layer, cast in ((exact, Tensor.double), (rough, Tensor.float), (ours, Tensor.detach))
    )
    faults = []
    for name, right in wanted.items():
        held = right.isfinite() & near[name].isfinite()
        if not bool(held.any()):
            continue
        right, close, got = right[held], near[name][held].double(), found[name][held].double()
        lost = float((close - right).abs().max())
        # As in the tests: the rounding of float32 inside a layer, and the error that it causes in the reference; then
        # the error of storing the result, or of reading dy, in a shorter type.
        allowed = max(1e-4 * max(1.0, float(right.abs().max())), 20 * lost)
        if name == "x" and lone:
            # Terms of dy / √eps cancel, a few of them, each rounded.
            allowed = max(allowed, 4 * torch.finfo(torch.float32).eps * float(dy[0].abs().max()) / exact.eps**0.5)
        stored = _ROUNDING[dtype] if name in _STORED else 0.0
        over = (got - right).abs() - stored * right.abs() - (_SMALLEST if stored else 0.0)
        # NaN counts as wrong. If the arguments of a maximum differ only by rounding, the gradient may go to either of
        # them. That happens among millions of values, so one in 100,000 gradients of x may be another number.
        wrong = int((~(over <= allowed)).sum())
        may_differ = _MAY_DIFFER * right.numel() if name == "x" and bool(got.isfinite().all()) else 0.0
        if wrong > may_differ:
            faults.append(f"{name} is off by {float(over.max()):.2g}, {allowed:.2g} allowed, in {wrong} values")
    return faults


def _lone(layer: NormAct, shape: tuple[int, int, int, int]) -> bool:
    """Whether a cell is a single value, whose standard deviation is √eps."""
    return shape[1] // groups_dividing(shape[1], layer.groups) * shape[2] * shape[3] == 1


def _run(layer: NormAct, x: list[Tensor], dy: list[Tensor]) -> dict[str, Tensor]:
    x = [t.clone(memory_format=torch.preserve_format).requires_grad_() for t in x]
    results = layer(*x)
    y = results if isinstance(results, tuple) else (results,)
    named: dict[str, Any] = {**dict(zip(("x", "residual"), x, strict=False)), **dict(layer.named_parameters())}
    gradients = torch.autograd.grad(y, list(named.values()), dy, allow_unused=True)
    zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(named.values(), gradients, strict=True))
    values = dict(zip(("y", "r"), (t.detach() for t in y), strict=False))
    return {**values, **dict(zip(named, zeros, strict=True)), **dict(layer.named_buffers())}
