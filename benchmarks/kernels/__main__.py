"""See `benchmarks.kernels`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import triton

from benchmarks.kernels import networks
from benchmarks.kernels.contenders import contenders
from benchmarks.kernels.correctness import check, graphs
from benchmarks.kernels.shapes import Shape, mobilenetv2, resnet50
from benchmarks.kernels.timing import copy_bandwidth, gpu_seconds, peak_bytes, python_seconds
from evonas.kernels.plan import plan_of
from evonas.published import as_graph

LAYERS = ("bn-relu", "evonorm-b0", "evonorm-s0", "x * sigmoid(x) / rms_bwh(x * sigmoid(x))")
"""Two that normalise as cuDNN's kernel does, one that looks at a sample alone, and one that a search found."""
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PARTS = ("correctness", "launching", "networks", "shapes")
NETWORK_BATCH = 128
SMALL = (1, 64, 7, 7)
"""Where the launch is all that a call costs."""


def correctness(random: int, device: str) -> list[dict[str, Any]]:
    """Every graph that the kernels compute wrongly."""
    wrong = []
    for number, (label, graph) in enumerate(graphs(random)):
        faults = check(graph, number, device)
        if faults:
            wrong.append({"graph": label, "expression": graph.written(), "faults": faults})
            print(f"wrong: {label}: {'; '.join(faults)}", flush=True)
    print(f"{number + 1} graphs compared with float64, {len(wrong)} wrong", flush=True)
    return wrong


def measured(layer: str, shape: Shape, dtype: str, last: bool, repeats: int) -> dict[str, Any]:
    """One row: a layer on a shape, all contenders, forward and with backward."""
    form = torch.channels_last if last else torch.contiguous_format
    x = torch.randn(shape, device="cuda").to(TYPES[dtype]).contiguous(memory_format=form).requires_grad_()
    dy = torch.randn_like(x)
    size = x.numel() * x.element_size()
    plan = plan_of(as_graph(layer))
    forward, backward = plan.floor
    row: dict[str, Any] = {"layer": layer, "shape": shape, "dtype": dtype, "channels_last": last, "bytes_of_x": size}
    row["passes"], row["floor"] = plan.passes, plan.floor
    bandwidth = copy_bandwidth(x.numel(), TYPES[dtype], repeats)
    row["copy_bandwidth"] = bandwidth
    for name, module in contenders(layer, shape[1], "cuda").items():

        def once(module: Callable[[torch.Tensor], torch.Tensor] = module) -> torch.Tensor:
            return module(x)

        def both(once: Callable[[], torch.Tensor] = once) -> None:
            x.grad = None
            once().backward(dy)

        with torch.no_grad():
            one_way = gpu_seconds(once, repeats)
        two_ways = gpu_seconds(both, repeats)
        row[name] = {
            "forward": one_way,
            "both": two_ways,
            "share_forward": forward * size / one_way / bandwidth,
            "share_both": (forward + backward) * size / two_ways / bandwidth,
            "peak_bytes": peak_bytes(both),
        }
    return row


def launching(layer: str, repeats: int = 300) -> dict[str, Any]:
    """Python's time for a call on a tensor so small that nothing else counts, beside cuDNN's batch normalisation."""
    x = torch.randn(SMALL, device="cuda", requires_grad=True)
    found: dict[str, Any] = {"layer": layer, "shape": SMALL}
    compared = contenders(layer, SMALL[1], "cuda")
    compared["batchnorm"] = torch.nn.BatchNorm2d(SMALL[1]).cuda()
    for name, module in compared.items():
        if name != "compiled":

            def once(module: Callable[[torch.Tensor], torch.Tensor] = module) -> torch.Tensor:
                return module(x)

            def both(once: Callable[[], torch.Tensor] = once) -> None:
                once().sum().backward()

            found[name] = {"forward": python_seconds(once, repeats), "both": python_seconds(both, repeats)}
    return found


def printed(row: dict[str, Any]) -> str:
    """A row for people: times in microseconds, shares of the copy's bandwidth, ratios to ours."""
    ours = row["ours"]
    shape, form = "x".join(map(str, row["shape"])), "nhwc" if row["channels_last"] else "nchw"
    head = f"{row['layer'][:24]:<24} {shape:<16} {row['dtype']:<8} {form}"
    parts = []
    for way in ("forward", "both"):
        others = "  ".join(
            f"{name} {row[name][way] / ours[way]:.2f}x" for name in ("eager", "compiled", "batchnorm-relu")
        )
        parts.append(f"{way} {1e6 * ours[way]:8.1f} us, {100 * ours[f'share_{way}']:3.0f}% of copy, {others}")
    return f"{head}  " + " | ".join(parts)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("--random", type=int, default=100, help="random graphs to check")
    parser.add_argument("--repeats", type=int, default=30, help="calls of which the median is taken")
    parser.add_argument("--layer", nargs="+", default=list(LAYERS))
    parser.add_argument("--network", choices=["resnet50", "mobilenetv2", "both"], default="both")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--device", default="cuda", help="cpu for correctness in Triton's interpreter")
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmarks/results/kernels.json"))
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU here; --device cpu --part correctness runs kernels in Triton's interpreter")
    document: dict[str, Any] = {
        "machine": torch.cuda.get_device_name() if on_gpu else "Triton's interpreter",
        "torch": torch.__version__,
        "triton": triton.__version__,
    }
    if arguments.output.exists():
        known = json.loads(arguments.output.read_text())
        document |= known if {key: known.get(key) for key in document} == document else {}

    def write() -> None:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")

    parts = arguments.part if on_gpu else ["correctness"]
    if "correctness" in parts:
        document["wrong"] = correctness(arguments.random, arguments.device)
        write()
    if "launching" in parts:
        document["launching"] = [launching(layer) for layer in arguments.layer]
        for row in document["launching"]:
            ours, theirs = (1e6 * row[name]["forward"] for name in ("ours", "batchnorm"))
            print(f"Python's time a call, {row['layer'][:24]}: {ours:.0f} us, nn.BatchNorm2d's {theirs:.0f} us")
        write()
    if "networks" in parts:
        document["networks"] = []
        for layer in ("cudnn", *arguments.layer):
            for dtype in TYPES.values():
                document["networks"].append(networks.measured(layer, dtype, NETWORK_BATCH, arguments.repeats))
                write()
    if "shapes" in parts:
        document["rows"] = []
        named = {"resnet50": resnet50(), "mobilenetv2": mobilenetv2()}
        for shape in (s for name, some in named.items() if arguments.network in (name, "both") for s in some):
            for layer in arguments.layer:
                for dtype_name in TYPES:
                    for last in (False, True):
                        row = measured(layer, shape, dtype_name, last, arguments.repeats)
                        document["rows"].append(row)
                        print(printed(row), flush=True)
                        write()
                torch._dynamo.reset()
    sys.exit(1 if document.get("wrong") else 0)


if __name__ == "__main__":
    main()
