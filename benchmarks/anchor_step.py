"""The time of a training step of each anchor, by part.

    python -m benchmarks.anchor_step -o benchmarks/results/anchor_step.json

Each anchor of the protocol is trained on one core, first timed and then profiled. The time of each profiled operator
counts towards the part that called it. `other` is the rest of PyTorch: the autograd engine, additions and pooling of
the anchors, and the gates of the EfficientNet. `python` is the remaining time outside of operators, including the
overhead of the profiler.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from time import process_time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from evonas.layers.layer_factory import LayerFactory
from evonas.records.environment import environment
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.workers.executors.allocator import keep_freed_memory
from evonas.workers.trial.evaluate import load_data
from evonas.workers.trial.training import Training

PARTS = {
    "convolution": ("conv", "Conv"),
    "layer": ("norm_act", "CppNode", "_Function", "batch_norm", "BatchNorm"),
    "linear and loss": ("linear", "Addmm", "cross_entropy", "LogSoftmax", "NllLoss", "log_softmax", "nll_loss"),
    "optimiser": ("Optimizer", "zero_grad"),
    "data": ("batch of images",),
}
"""Parts of a step, and substrings of the names of their operators."""
EVOLVED = "(sigmoid(x) / rms_whcg(x) + tanh(v1 * x)) * x / max(std_bwh(x), sqrt(std_wh(x)))"
"""A layer like those that a search finds, with three statistics and two transcendental functions."""


class _Named(Training):
    """A training whose batches are named in the profile."""

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        with record_function("batch of images"):
            return super().batch(step)


def part_of(event: FunctionEvent) -> str:
    """Return the part of an operator, or else that of its nearest caller that has one."""
    at: FunctionEvent | None = event
    while at is not None:
        for part, names in PARTS.items():
            if any(name in at.name for name in names):
                return part
        at = at.cpu_parent
    return "other"


def measured(anchor: str, layer: str, protocol: EvaluationProtocol, repeats: int) -> dict[str, Any]:
    """Measure one row: the seconds of a step, and the shares of its parts."""
    data, factory = load_data(protocol), LayerFactory.of(layer)

    def training() -> Training:
        return _Named(anchor, factory, data, protocol)

    training().advance(5)  # builds the kernels
    times = []
    for _ in range(repeats):
        one, start = training(), process_time()
        one.advance(protocol.steps)
        times.append((process_time() - start) / protocol.steps)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        one, start = training(), process_time()
        one.advance(protocol.steps)
        clock = process_time() - start
    spent: dict[str, float] = defaultdict(float)
    for event in profiler.events():
        spent[part_of(event)] += event.self_cpu_time_total / 1e6
    spent["python"] = max(0.0, clock - sum(spent.values()))
    whole = sum(spent.values())
    parts = {part: spent[part] / whole for part in (*PARTS, "other", "python")}
    return {"anchor": anchor, "layer": layer, "step_seconds": min(times), "parts": parts}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", nargs="*", default=["bn-relu", "evonorm-b0", EVOLVED])
    parser.add_argument("--repeats", type=int, default=5, help="number of trainings of each; the fastest counts")
    parser.add_argument("-o", "--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    protocol, rows = EvaluationProtocol(), []
    grid = Table(title=f"a training step of {protocol.batch} images on one core")
    for heading in ("anchor", "layer", "ms", *PARTS, "other", "python"):
        grid.add_column(heading, justify="left" if heading in ("anchor", "layer") else "right")
    for anchor in protocol.anchors:
        for layer in arguments.layers:
            row = measured(anchor, layer, protocol, arguments.repeats)
            rows.append(row)
            shares = [f"{100 * share:.0f}%" for share in row["parts"].values()]
            grid.add_row(anchor, layer[:24], f"{1e3 * row['step_seconds']:.2f}", *shares)
    Console(width=150).print(grid)
    if arguments.output:
        document = {"environment": environment(), "protocol_steps": protocol.steps, "rows": rows}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
