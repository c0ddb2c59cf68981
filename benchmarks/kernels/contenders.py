"""The contenders: the same layer computed in several ways, and the layers that it replaces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from evonas.layers.norm_act import NormAct

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
NATIVE = "nn.BatchNorm2d + ReLU"
WAYS = ("ours", "eager", NATIVE, f"{NATIVE} + affine")
"""Our kernels, the reference in PyTorch, and the usual layers of networks: as they are, and followed by the affine that
our layers end with, so that both do the same work."""
NATIVE_NORM = "nn.LayerNorm or nn.RMSNorm"
"""PyTorch's own norm of tokens."""
COMPILED = {"compiled": None, "compiled, max-autotune": "max-autotune-no-cudagraphs"}
"""The reference under `torch.compile`, with the mode of each. The second mode is without CUDA graphs, which would
capture the layers before and after too."""


class BatchNormRelu(nn.Module):
    """PyTorch's batch normalisation and an in-place ReLU, as in ResNets.

    Args:
        channels: the number of channels of the input.
        affine: whether to scale and shift at the end too, as our layers do.
    """

    def __init__(self, channels: int, affine: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.affine = affine
        if affine:
            self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The rectified normalised input."""
        y = torch.relu_(self.norm(x))
        if not self.affine:
            return y
        weight, bias = (p.to(y.dtype).view(1, -1, 1, 1) for p in (self.weight, self.bias))
        return torch.addcmul(bias, y, weight)


def contender(way: str, layer: str, channels: int) -> Any:
    """One of `WAYS` or `COMPILED` on the GPU, in training.

    Args:
        way: the contender.
        layer: a name from the zoo or an expression.
        channels: the number of channels of the input.
    """
    if way in COMPILED:
        torch._dynamo.reset()  # a function is compiled for at most eight inputs, and then no more
        module = NormAct(layer, channels, backend="reference", device="cuda")
        return torch.compile(module, dynamic=False, mode=COMPILED[way])
    if way.startswith(NATIVE):
        return BatchNormRelu(channels, affine=way != NATIVE).to("cuda")
    return NormAct(layer, channels, backend="triton" if way == "ours" else "reference", device="cuda")
