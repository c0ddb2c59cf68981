"""Training steps of a whole network, with its layers computed in several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch import nn

from benchmarks.kernels.contenders import BatchNormRelu
from benchmarks.kernels.timing import host_seconds, peak_bytes
from evonas.layers.norm_act import NormAct
from evonas.workers.anchors.resnet import RESNET50, ResNet, ResNetConfig

WAYS = ("ours", "eager", "compiled", "ours, compiled", "graph", "ours, graph")
"""Kernels, the reference, torch.compile of the whole network with the reference or the kernels, and a CUDA graph of
the whole training step with either, which needs no time of the host."""
SIZE = 224
"""Height and width of images."""


@dataclass(frozen=True)
class Layers:
    """Builds the layers of the network.

    Attributes:
        layer: a name from the zoo or an expression; `batchnorm` for `nn.BatchNorm2d` and an in-place ReLU.
        backend: the backend of `NormAct`.
    """

    layer: str
    backend: str

    def norm_act(self, channels: int) -> nn.Module:
        """The layer at one position."""
        if self.layer == "batchnorm":
            return BatchNormRelu(channels)
        return NormAct(self.layer, channels, backend=self.backend)

    def norm(self, channels: int) -> nn.Module:
        """Never called, because every position of a pre-activation network has an activation."""
        raise NotImplementedError(f"a position of {channels} channels without an activation")


def training_step(
    layer: str, way: str, device: str, dtype: torch.dtype, batch: int, size: int, config: ResNetConfig = RESNET50
) -> Callable[[], object]:
    """A call that trains a network on one batch of random images: forward, backward and a step of SGD.

    Args:
        layer: as in `Layers`.
        way: one of `WAYS`.
        device: the device.
        dtype: the type in which autocast computes convolutions; float32 for no autocast.
        batch: the number of images.
        size: their height and width.
        config: the network.
    """
    torch.manual_seed(0)
    layers = Layers(layer, "triton" if way.startswith("ours") else "reference")
    network: nn.Module = ResNet(config, layers, in_channels=3, classes=1000)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it so
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch,), device=device)
    called: Any = torch.compile(network, dynamic=False) if way.endswith("compiled") else network

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(called(images), labels)
        loss.backward()
        optimizer.step()

    return step


def captured(step: Callable[[], object]) -> Callable[[], object]:
    """A replay of a training step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):  # allocations and choices of algorithms, which a graph cannot hold
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        step()
    return graph.replay


def measured(layer: str, way: str, dtype: torch.dtype, batch: int, repeats: int) -> dict[str, Any]:
    """The seconds of a step, the seconds of the host for it, and the peak memory, for ResNet-50 in channels last.

    The time of a step is the median over steps that follow one another without waiting, as in training, each measured
    on the GPU from the end of the step before to its own end.
    """
    torch._dynamo.reset()
    torch.cuda.empty_cache()
    step = training_step(layer, way, "cuda", dtype, batch, SIZE)
    if way.endswith("graph"):
        step = captured(step)
    for _ in range(3):
        step()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        step()
        mark.record()
    torch.cuda.synchronize()
    seconds = sorted(float(one.elapsed_time(next_one)) / 1000 for one, next_one in pairwise(marks))
    found = {"step": median(seconds), "fastest": seconds[0], "slowest": seconds[-1]}
    found["host"] = host_seconds(step, 5)
    return found if way.endswith("graph") else found | {"peak_bytes": peak_bytes(step)}  # a graph holds its memory
