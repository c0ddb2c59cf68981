"""Layers for tokens on a CPU: C++ kernels that go row by row, compared with PyTorch's own norms and with eager PyTorch.

    python -m benchmarks.rows_cpu -o benchmarks/results/rows_cpu.json

Measures forward and backward passes, and forward passes alone, on 4 million values in rows of several widths, on one
core and on two. Contenders take turns, and each time is the median of its repeats. The contender of `layernorm` is
F.layer_norm, that of `rmsnorm-c` F.rms_norm, and those of both on a sum with a residual (`evonas.AddNorm`) an addition
and these; dynamic tanh and erf, and random layers of the space `tokens` that pass
the cheap filters, are compared with eager PyTorch, as an exported file computes them. The allocator is told to keep the
memory that it frees: otherwise some outputs are written to pages that the kernel of the system has to clear first, for
one contender and not for the other, which takes longer than a pass.
"""

from __future__ import annotations

import argparse
import ctypes
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from statistics import geometric_mean, median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.markdown import markdown_table
from evonas.judging.cheap_filters import CheapFilters, Passed, Tally
from evonas.kernels.cpp.calls import build_calls
from evonas.kernels.export.torch_source import to_torch
from evonas.language.graph import Graph
from evonas.language.zoo import ROWS, zoo
from evonas.layers.add_norm import AddNorm
from evonas.layers.norm_act import NormAct
from evonas.records.environment import environment
from evonas.search_spaces import SPACES
from evonas.settings.search_space import generator

VALUES = 2**22
WIDTHS = (256, 768, 1024, 4096)
NAMED = ("layernorm", "rmsnorm-c", "dyt", "derf")
RANDOM = 20
"""Layers of the space `tokens`, the first that pass the cheap filters."""

SUMS = {f"{name} of a sum": name for name in ("layernorm", "rmsnorm-c")}
"""What `AddNorm` is measured with."""

Pass = Callable[[], object]
Forward = Callable[[], tuple[Tensor, ...]]
"""Returns what a layer returns, one tensor or two."""


def main() -> None:
    """Measure, print the table, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rows_cpu", description=__doc__)
    parser.add_argument("--width", type=int, nargs="*", default=list(WIDTHS), help="channels of a row")
    parser.add_argument("--random", type=int, default=RANDOM, help="number of random layers")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("-o", "--output", type=Path, default=None)
    given = parser.parse_args()
    build_calls()
    keep_memory()
    layers = {name: zoo[name] for name in NAMED} | random_layers(given.random)
    measured = []
    for threads in given.threads:
        torch.set_num_threads(threads)
        for width in given.width:
            for name, graph in layers.items():
                row = compare(name, graph, width, given.repeats)
                measured.append({"layer": name, "width": width, "threads": threads, **row})
                print(_line(measured[-1]), flush=True)
            for label, name in SUMS.items():
                row = compare_of_sum(name, width, given.repeats)
                measured.append({"layer": label, "width": width, "threads": threads, **row})
                print(_line(measured[-1]), flush=True)
    document = {"environment": environment(), "values": VALUES, "layers": {n: g.written() for n, g in layers.items()}}
    document["rows"] = measured
    print("\n".join(table(document)))
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n")


def keep_memory() -> None:
    """Tell glibc's allocator to keep what is freed; other allocators do, or are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
            mallopt(parameter, 2**30)


def random_layers(count: int) -> dict[str, Graph]:
    """Return the first random layers of the space `tokens` that pass the cheap filters."""
    found: dict[str, Graph] = {}
    filters, seed = CheapFilters(), 0
    while len(found) < count:
        graph = SPACES["tokens"].random_graph(generator(seed)).canonical
        if isinstance(filters.judge(graph, Tally()), Passed):
            found[f"tokens {seed}"] = graph
        seed += 1
    return found


def compare(name: str, graph: Graph, width: int, repeats: int) -> dict[str, float]:
    """Return the median seconds of our kernels and of the contender, and the ratios, forward and in both passes."""
    torch.manual_seed(0)
    x = torch.randn(VALUES // width, width, requires_grad=True)
    start = ROWS[name].start if name in ROWS else {}
    ours = NormAct(graph, width, dim=-1, backend="cpp", start=start)
    theirs = contender(name, graph, width, x)
    return _timed(lambda: (ours(x),), lambda: (theirs(),), [x, *ours.parameters()], repeats)


def compare_of_sum(name: str, width: int, repeats: int) -> dict[str, float]:
    """Return the same of a layer for a sum with a residual, which is returned as well."""
    torch.manual_seed(0)
    x, residual = (torch.randn(VALUES // width, width, requires_grad=True) for _ in range(2))
    ours = AddNorm(name, width, backend="cpp")
    weight, bias = torch.ones(width, requires_grad=True), torch.zeros(width, requires_grad=True)

    def theirs() -> tuple[Tensor, ...]:
        r = x + residual
        if name == "rmsnorm-c":
            return F.rms_norm(r, (width,), weight, 1e-5), r
        return F.layer_norm(r, (width,), weight, bias, 1e-5), r

    return _timed(lambda: ours(x, residual), theirs, [x, residual, weight, bias, *ours.parameters()], repeats)


def _timed(ours: Forward, theirs: Forward, leaves: Sequence[Tensor], repeats: int) -> dict[str, float]:
    forwards = {"ours": ours, "theirs": theirs}
    gradients = [torch.randn_like(y) for y in ours()]
    times: dict[str, list[float]] = {f"{who} {what}": [] for who in forwards for what in ("forward", "both")}
    for _ in range(repeats + 1):
        for who, forward in forwards.items():
            for what, work in (("forward", _forward(forward)), ("both", _both(forward, gradients, leaves))):
                work()  # so that caches hold what this contender left in them
                since = perf_counter()
                work()
                times[f"{who} {what}"].append(perf_counter() - since)
    found = {what: median(values[1:]) for what, values in times.items()}
    ratios = {what: found[f"theirs {what}"] / found[f"ours {what}"] for what in ("forward", "both")}
    return {**ratios, **found}


def contender(name: str, graph: Graph, width: int, x: Tensor) -> Callable[[], Tensor]:
    """Return PyTorch's own norm where it has one, and the exported class otherwise."""
    weight, bias = torch.ones(width, requires_grad=True), torch.zeros(width, requires_grad=True)
    if name == "layernorm":
        return lambda: F.layer_norm(x, (width,), weight, bias, 1e-5)
    if name == "rmsnorm-c":
        return lambda: F.rms_norm(x, (width,), weight, 1e-5)
    scope: dict[str, Any] = {"__name__": "layer"}
    exec(compile(to_torch(graph), "<layer>", "exec"), scope)  # source that evonas writes
    module = scope["Layer"](width, dim=-1)
    return lambda: module(x)


def _line(row: Mapping[str, Any]) -> str:
    return f"{row['threads']} cores, {row['width']:5}: {row['layer']:18} {row['forward']:.2f} {row['both']:.2f}"


def _forward(forward: Forward) -> Pass:
    def work() -> None:
        with torch.no_grad():
            forward()

    return work


def _both(forward: Forward, gradients: Sequence[Tensor], leaves: Sequence[Tensor]) -> Pass:
    def work() -> None:
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(forward(), gradients)

    return work


def table(document: Mapping[str, Any]) -> list[str]:
    """Return the table of docs/SPEED.md: geometric means over widths of how many times as fast our kernels are."""
    threads = sorted({row["threads"] for row in document["rows"]})
    header = ["layer", "against", *(f"{what}, {n} core{'s' * (n > 1)}" for n in threads for what in _PASSES.values())]
    lines = [(f"`{name}`", against, *_ratios(document, threads, [name])) for name, against in _AGAINST.items()]
    lines += [
        (f"`{name}` of x + residual", f"addition and {_AGAINST[name]}", *_ratios(document, threads, [label]))
        for label, name in SUMS.items()
    ]
    count = len(document["layers"]) - len(NAMED)
    is_random = _ratios(document, threads, [name for name in document["layers"] if name not in NAMED])
    return markdown_table(header, [*lines, (f"{count} random layers of `tokens`", "eager PyTorch", *is_random)])


_PASSES = {"forward": "forward", "both": "forward and backward"}
_AGAINST = {"layernorm": "F.layer_norm", "rmsnorm-c": "F.rms_norm", "dyt": "eager PyTorch", "derf": "eager PyTorch"}


def _ratios(document: Mapping[str, Any], threads: list[int], wanted: Collection[str]) -> list[str]:
    found = []
    for n in threads:
        for what in _PASSES:
            rows = [row[what] for row in document["rows"] if row["threads"] == n and row["layer"] in wanted]
            found.append(f"{geometric_mean(rows):.1f}")
    return found


if __name__ == "__main__":
    main()
