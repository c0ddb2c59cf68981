"""Random numbers that a network draws for itself, as one does that is trained to remove noise."""

from __future__ import annotations

import torch
from torch import nn


class OwnDraws(nn.Module):
    """A sequence of generators that depends on nothing but the number of calls.

    In training every call draws other numbers, so that all candidates of a search see the same; in evaluation every
    call draws the same ones. PyTorch's global random state is left alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self) -> torch.Generator:
        """Return the generator of this call, on the CPU."""
        if not self.training:
            return torch.Generator().manual_seed(0)
        self.calls += 1
        return torch.Generator().manual_seed(self.calls)
