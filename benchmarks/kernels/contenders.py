"""What is measured side by side: the same layer computed in several ways."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from evonas.layer import NormAct

Call = Callable[[Tensor], Tensor]


class BatchNormRelu(nn.Module):
    """cuDNN's batch normalisation, and a ReLU in place, as ResNets have them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """The rectified normalised input."""
        return torch.relu_(self.norm(x))


def contenders(layer: str, channels: int, device: str) -> dict[str, nn.Module | Call]:
    """By name: `ours`, `eager`, `compiled` and `batchnorm-relu`, with equal parameters."""
    eager = NormAct(layer, channels, backend="reference", device=device)
    ours = NormAct(layer, channels, backend="triton", device=device)
    ours.load_state_dict(eager.state_dict())
    compiled = torch.compile(copy.deepcopy(eager), dynamic=False)
    return {
        "ours": ours,
        "eager": eager,
        "compiled": compiled,
        "batchnorm-relu": BatchNormRelu(channels).to(device),
    }
