"""The cost of a call on a tensor so small that nothing else matters, relative to `nn.BatchNorm2d`.

    python -m benchmarks.call_cost

On a GPU, this is the time until a call returns, including the launches of kernels. Without a GPU, two things are
measured in CPU time: the path to Triton's kernels without the launches, so that Triton's own part of a launch is not
included (`triton, no launch`), and the C++ kernels (`cpp`). All contenders take turns in one thread, and each time is
the median of its turns; ratios are relative to `nn.BatchNorm2d`. `BatchNorm2d, ReLU` is the pair that the layer
replaces.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from evonas.kernels.cpp.calls import build_calls
from evonas.kernels.layer_cache import compiled_layer
from evonas.layers.backend import has_cpp, has_triton
from evonas.layers.norm_act import NormAct
from evonas.records.environment import environment

LAYERS = ("bn-relu", "evonorm-b0", "evonorm-s0")
SHAPE = (1, 16, 2, 2)
PASSES = ("evaluation", "training", "training and backward")
_CALLS = 20
"""Consecutive calls per reading of the clock."""


class NotLaunched:
    """A stand-in for a Triton kernel that has the same arguments and accepts launches, but runs nothing."""

    def __init__(self, kernel: Any) -> None:
        self.arg_names, self.__name__ = kernel.arg_names, kernel.__name__

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return _nothing


def _nothing(*values: Any, **constants: int) -> None:
    pass


def without_launches(layer: NormAct) -> NormAct:
    """Change the layer so that its kernels are chosen and get their arguments, but are not launched."""
    from evonas.kernels.triton.launches import Launches
    from evonas.kernels.triton.on_chip import OnChipKernels
    from evonas.kernels.triton.run import TritonLayer
    from evonas.kernels.triton.run_either import TritonEitherLayer
    from evonas.layers.running_values import running_names

    for training in (True, False):
        own = compiled_layer("triton", layer.graph.to_json(), training)
        own = own.planes if isinstance(own, TritonEitherLayer) else own  # which inputs of this size take
        assert isinstance(own, TritonLayer)
        cells = OnChipKernels(own.plan, running_names(layer.graph))
        kernels = {name: NotLaunched(getattr(own.module, name)) for name in own.names}
        own._launches = Launches(own.kernels, cells, kernels.__getitem__, True)
        own._work.cache_clear()
    return layer


def contenders(layer: str, device: str) -> dict[str, nn.Module]:
    """Return the modules to be timed, by name, including `BatchNorm2d`."""
    channels = SHAPE[1]
    found: dict[str, nn.Module] = {"BatchNorm2d": nn.BatchNorm2d(channels, device=device)}
    found["BatchNorm2d, ReLU"] = nn.Sequential(nn.BatchNorm2d(channels, device=device), nn.ReLU())
    if device == "cuda":
        found["triton"] = NormAct(layer, channels, backend="triton", device=device)
        return found
    found["reference"] = NormAct(layer, channels, backend="reference")
    if has_triton():
        found["triton, no launch"] = without_launches(NormAct(layer, channels, backend="triton"))
    if has_cpp():
        found["cpp"] = NormAct(layer, channels, backend="cpp")
    return found


def seconds(modules: Mapping[str, nn.Module], mode: str, x: Tensor, repeats: int) -> dict[str, float]:
    """Return the seconds of one call of each module, the median over its turns."""
    dy = torch.ones_like(x)

    def once(module: nn.Module) -> None:
        y = module(x)
        if mode == PASSES[2]:
            torch.autograd.backward(y, dy)

    clock = time.perf_counter if x.is_cuda else time.process_time
    readings: dict[str, list[float]] = {name: [] for name in modules}
    with torch.set_grad_enabled(mode == PASSES[2]):
        for module in modules.values():
            module.train(mode != PASSES[0])
            for _ in range(_CALLS):
                once(module)
        for _ in range(repeats):
            for name, module in modules.items():
                if x.is_cuda:
                    torch.cuda.synchronize()  # empties the queue, so that no call waits for room in it
                start = clock()
                for _ in range(_CALLS):
                    once(module)
                readings[name].append((clock() - start) / _CALLS)
    return {name: median(times) for name, times in readings.items()}


def main() -> None:
    """Run the benchmark: measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.call_cost")
    parser.add_argument("--layer", nargs="+", default=list(LAYERS), help="published layers or expressions")
    parser.add_argument("--repeats", type=int, default=200, help=f"readings of {_CALLS} calls each")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/call_cost.json"))
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    if has_cpp():
        build_calls()
    x = torch.randn(SHAPE, device=device, requires_grad=True)
    rows: list[dict[str, Any]] = []
    grid = Table(title=f"a call on {'x'.join(map(str, SHAPE))}, {device}: microseconds, and ratio to nn.BatchNorm2d")
    for heading in ("layer", "pass", "BatchNorm2d"):
        grid.add_column(heading, overflow="fold")
    for layer in arguments.layer:
        modules = contenders(layer, device)
        if not rows:  # the first layer: all have the same contenders
            for name in [name for name in modules if name != "BatchNorm2d"]:
                grid.add_column(name, overflow="fold")
        for mode in PASSES:
            times = seconds(modules, mode, x, arguments.repeats)
            base = times["BatchNorm2d"]
            ratios = {name: value / base for name, value in times.items() if name != "BatchNorm2d"}
            rows.append({"layer": layer, "way": mode, "seconds": times, "ratios": ratios})
            cells = [f"{1e6 * times[name]:.1f} ({ratio:.2f}x)" for name, ratio in ratios.items()]
            grid.add_row(layer, mode, f"{1e6 * base:.1f}", *cells)
    if device == "cuda":
        grid.caption = f"on {torch.cuda.get_device_name()}"
    else:
        grid.caption = "no GPU here: Triton's own part of a launch is not measured"
    Console().print(grid)
    document: dict[str, Any] = {
        "environment": {**environment(), **({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})},
        "device": device,
        "shape": SHAPE,
        "repeats": arguments.repeats,
        "rows": rows,
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
