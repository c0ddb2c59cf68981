"""Layers on a CPU: C++ kernels compared with eager PyTorch, torch.compile, batch normalisation, and a copy.

    python -m benchmarks.layers_cpu -o benchmarks/results/layers_cpu.json

Measures forward and backward passes on the shapes of the small anchors, on one core, with contenders taking turns.
`--evolved` adds layers that a search found, as `evonas best --top 50 -f json` prints them. Ratios are geometric means
over shapes.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import geometric_mean, median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from evonas.kernels.cpp.calls import build_calls
from evonas.kernels.plan.planner import plan_of
from evonas.language.zoo import as_graph, zoo
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.norm_act import NormAct
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.anchors import build_anchor
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.trial.evaluate import load_data

Shape = tuple[int, int, int, int]
STEPS = 100
"""Steps over which the cost of building kernels is spread."""


def shapes(protocol: EvaluationProtocol) -> Counter[Shape]:
    """Count the input shapes of norm-acts in one step of all the protocol's anchors."""
    data, found = load_data(protocol), Counter[Shape]()
    images = torch.randn(protocol.batch, data.channels, *data.size)
    for anchor in protocol.anchors:
        model = build_anchor(
            anchor, LayerFactory(as_graph("evonorm-s0")), in_channels=data.channels, classes=data.classes
        )
        for module in model.modules():
            if isinstance(module, NormAct) and module.graph.nodes:
                module.register_forward_pre_hook(lambda _, inputs: found.update([tuple(inputs[0].shape)]))
        model(images)
    return found


def contenders(layer: str, channels: int, compiled: bool) -> dict[str, nn.Module | Callable[[Tensor], Tensor]]:
    """Return the modules to be timed, by name."""
    ours, eager = (NormAct(layer, channels, backend=backend) for backend in ("cpp", "reference"))
    found: dict[str, nn.Module | Callable[[Tensor], Tensor]] = {"ours": ours, "eager": eager}
    found["batchnorm-relu"] = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
    if compiled:
        torch._dynamo.reset()  # otherwise it stops compiling a module's code after eight layers
        found["compiled"] = torch.compile(copy.deepcopy(eager), dynamic=False)
    return found


def seconds(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each call, with calls taking turns."""
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def measured(layer: str, shape: Shape, channels_last: bool, compiled: bool, repeats: int) -> dict[str, Any]:
    """Measure one row: the seconds of a layer on a shape, forward and backward."""
    form = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(shape).contiguous(memory_format=form).requires_grad_()
    dy, target = torch.randn_like(x), torch.empty_like(x)
    calls: dict[str, Callable[[], object]] = {}
    for name, module in contenders(layer, shape[1], compiled).items():

        def both(module: Callable[[Tensor], Tensor] = module) -> None:
            x.grad = None
            module(x).backward(dy)

        calls[name] = both
    calls["copy"] = lambda: target.copy_(dy)
    plan = plan_of(as_graph(layer))
    row: dict[str, Any] = {"layer": layer, "shape": shape, "channels_last": channels_last, "values": x.numel()}
    # A copy reads one tensor of x's size and writes another.
    times = seconds(calls, repeats)
    return row | times | {"floor": sum(plan.floor) / 2 * times.pop("copy")}


def build_seconds(layer: str) -> float:
    """Return the seconds of building a layer's kernels for training and evaluation, as in a search."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("EVONAS_CACHE")
        os.environ["EVONAS_CACHE"] = folder
        try:
            from evonas.kernels.cpp.loops import MemoryLayout
            from evonas.kernels.cpp.run import CppLayer

            x, one = torch.randn(2, 4, 3, 3), NormAct(layer, 4, backend="cpp")
            start = perf_counter()
            for training in (True, False) if one._running else (True,):
                CppLayer(one.graph, training)._built("forward", MemoryLayout.CHANNELS, double=x.dtype == torch.float64)
            return perf_counter() - start
        finally:
            if before is None:
                del os.environ["EVONAS_CACHE"]
            else:
                os.environ["EVONAS_CACHE"] = before


def summary(rows: list[dict[str, Any]], build: float, weights: Counter[Shape]) -> dict[str, Any]:
    """Summarise the rows of one layer; a ratio above 1 means that our kernels are faster."""
    compiled = [r for r in rows if "compiled" in r]
    in_network = [r for r in rows if r["channels_last"]]
    step = {name: sum(weights[r["shape"]] * r[name] for r in in_network) for name in ("ours", "eager")}
    saved = sum(weights[r["shape"]] * (r["eager"] - r["ours"]) for r in in_network)
    values = sum(weights[r["shape"]] * r["values"] for r in in_network)
    return {
        "passes": plan_of(as_graph(rows[0]["layer"])).passes,
        "build_seconds": build,
        "over_eager": geometric_mean(r["eager"] / r["ours"] for r in rows),
        "over_batchnorm_relu": geometric_mean(r["batchnorm-relu"] / r["ours"] for r in rows),
        "over_compiled": geometric_mean(r["compiled"] / r["ours"] for r in compiled) if compiled else None,
        "over_floor": geometric_mean(r["floor"] / r["ours"] for r in rows),
        "over_eager_with_build": STEPS * step["eager"] / (STEPS * step["ours"] + build),
        "break_even_values": build / saved * values if saved > 0 else math.inf,
    }


def table(found: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    """Format the summaries as a table."""
    grid = Table(title="time relative to our kernels, forward and backward, one core")
    for heading in (
        "layer",
        "passes",
        "eager",
        f"{STEPS} steps and build",
        "torch.compile",
        "BatchNorm+ReLU",
        "floor",
    ):
        grid.add_column(heading, justify="left" if heading == "layer" else "right")
    keys = ("over_eager", "over_eager_with_build", "over_compiled", "over_batchnorm_relu", "over_floor")
    for layer, one in found:
        ratios = ["" if one[key] is None else f"{one[key]:.2f}" for key in keys]
        grid.add_row(layer[:60], str(one["passes"]), *ratios)
    return grid


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25, help="number of calls of each; the median counts")
    parser.add_argument("--layers", nargs="*", default=list(zoo), help="published layers or expressions")
    parser.add_argument("--evolved", type=Path, help="output of `evonas best -f json`")
    parser.add_argument("--most", type=int, default=50, help="maximum number of evolved layers")
    parser.add_argument("--no-compiled", action="store_true", help="leave out torch.compile, which takes minutes")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    build_calls()
    keep_freed_memory()
    weights = shapes(EvaluationProtocol())
    largest = max(weights, key=math.prod)
    evolved = [one["expression"] for one in json.loads(arguments.evolved.read_text())] if arguments.evolved else []
    rows, summaries, console = [], {}, Console()
    for layer in [*arguments.layers, *evolved[: arguments.most]]:
        of_layer = []
        for shape in weights:
            for last in (False, True):
                compiled = shape == largest and not arguments.no_compiled and layer in arguments.layers
                of_layer.append(measured(layer, shape, last, compiled, arguments.repeats))
        summaries[layer] = summary(of_layer, build_seconds(layer), weights)
        rows += of_layer
        console.print(f"{layer}: {summaries[layer]['over_eager']:.1f} times as fast as eager")
    console.print(table(summaries.items()))
    kinds = {"published": arguments.layers, "evolved": evolved[: arguments.most]}
    overall = {
        kind: {
            key: geometric_mean(summaries[layer][key] for layer in layers)
            for key in ("over_eager", "over_eager_with_build", "over_batchnorm_relu", "over_floor")
        }
        for kind, layers in kinds.items()
        if layers
    }
    even = median(one["break_even_values"] for one in summaries.values())
    console.print(overall, f"a build pays off after {even:.3g} values (median)")
    if arguments.output:
        document: dict[str, Any] = {
            "environment": environment(),
            "shapes": [[*s, n] for s, n in weights.items()],
            "overall": overall,
        }
        document |= {"break_even_values": even, "layers": summaries, "rows": rows}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
