"""Training steps of a whole network, with its layers computed in several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.kernels.contenders import BatchNormRelu
from benchmarks.kernels.timing import gpu_seconds, peak_bytes
from evonas.layer import NormAct
from evonas.workers.anchors.resnet import RESNET50, ResNet, ResNetConfig

WAYS = ("ours", "eager", "compiled")
"""Kernels, the reference, and torch.compile of the whole network with the reference in it."""


@dataclass(frozen=True)
class Layers:
    """What the network is built with.

    Attributes:
        layer: a name in the zoo or an expression; `cudnn` for `nn.BatchNorm2d` and a ReLU in place.
        backend: of `NormAct`.
    """

    layer: str
    backend: str

    def norm_act(self, channels: int) -> nn.Module:
        """The layer of a position."""
        if self.layer == "cudnn":
            return BatchNormRelu(channels)
        return NormAct(self.layer, channels, backend=self.backend)

    def norm(self, channels: int) -> nn.Module:
        """Never asked for: every position of a pre-activation network has an activation."""
        raise NotImplementedError(f"a position of {channels} channels without an activation")


def training_step(
    layer: str, way: str, device: str, dtype: torch.dtype, batch: int, size: int, config: ResNetConfig = RESNET50
) -> Callable[[], object]:
    """A call that trains a network on one batch of random images: forward, backward and a step of SGD.

    Args:
        layer: see `Layers`.
        way: one of `WAYS`.
        device, dtype: where, and the type that autocast computes convolutions in; float32 for no autocast.
        batch, size: images, and their height and width.
        config: the network.
    """
    torch.manual_seed(0)
    layers = Layers(layer, "triton" if way == "ours" else "reference")
    network: nn.Module = ResNet(config, layers, in_channels=3, classes=1000)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it so
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(1000, (batch,), device=device)
    called: Any = torch.compile(network, dynamic=False) if way == "compiled" else network

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = nn.functional.cross_entropy(called(images), labels)
        loss.backward()
        optimizer.step()

    return step


def measured(layer: str, dtype: torch.dtype, batch: int, repeats: int) -> dict[str, Any]:
    """One row: seconds of a step and peak memory of ResNet-50 at 224×224, channels last, each way.

    The network with cuDNN's batch normalisation knows but two ways, eager and compiled.
    """
    row: dict[str, Any] = {"layer": layer, "network": "resnet50", "batch": batch, "dtype": str(dtype).split(".")[-1]}
    for way in WAYS:
        if (layer, way) == ("cudnn", "ours"):
            continue
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        try:
            step = training_step(layer, way, "cuda", dtype, batch, 224)
            row[way] = {"step": gpu_seconds(step, repeats), "peak_bytes": peak_bytes(step)}
        except torch.OutOfMemoryError:
            row[way] = {"out_of_memory": True}
        print(f"{layer[:24]:<24} {row['dtype']:<8} {way:<8} {_words(row[way])}", flush=True)
    return row


def _words(found: dict[str, Any]) -> str:
    if "step" not in found:
        return "out of memory"
    return f"{1e3 * found['step']:8.1f} ms a step, {found['peak_bytes'] / 2**30:5.1f} GiB"
