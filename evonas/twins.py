"""Twins: graphs that answer alike while their parameters are where training starts.

In a short training v0 and v1 hardly move from 0 and 1, so `x + v0` scores as `x` does, up to noise, and half
of what evolution and random search score are such repetitions. A twin of an earlier candidate is turned
away before it costs anything. The price is that of two layers which differ by what they can learn only the
first is tried, so this is a setting, and off in the paper's protocol.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from evonas.reference import evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from evonas.graph import Graph

_SHAPE = (3, 8, 3, 3)
_GROUPS = 4  # two channels a group: the index sets stay distinct
_SCALES = (0.3, 1.0, 3.0)
"""Of the inputs: how far a layer saturates is part of what it does."""


@cache
def _probes() -> tuple[Tensor, ...]:
    rng = np.random.default_rng(20_200_403)
    b, c, _, _ = _SHAPE
    x = rng.standard_normal(_SHAPE) * np.exp(0.5 * rng.standard_normal((1, c, 1, 1)))
    x += 0.5 * rng.standard_normal((1, c, 1, 1)) + 0.3 * rng.standard_normal((b, 1, 1, 1))
    return tuple(torch.from_numpy(scale * x) for scale in _SCALES)


def start_response(graph: Graph) -> NDArray[np.float32] | None:
    """The output of `graph` on fixed random inputs at three scales with v0 = 0 and v1 = 1, each over the scale.

    Returns:
        One vector; None where a value is not finite.
    """
    channels = _SHAPE[1]
    parts = []
    for scale, probe in zip(_SCALES, _probes(), strict=True):
        zeros, ones = probe.new_zeros(channels), probe.new_ones(channels)
        parts.append((evaluate(graph, probe, zeros, ones, groups=_GROUPS) / scale).reshape(-1))
    response = torch.cat(parts).float()
    return response.numpy() if bool(response.isfinite().all()) else None


class Twins:
    """The responses of earlier candidates.

    Args:
        tolerance: relative distance, in the Euclidean norm and up to the sign, within which two responses
            count as one; 0 for no comparison at all.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self._responses: NDArray[np.float32] | None = None
        self._count = 0

    def add(self, graph: Graph) -> None:
        """Counts later graphs that respond alike as twins."""
        response = start_response(graph) if self.tolerance > 0.0 else None
        if response is None:
            return
        if self._responses is None:
            self._responses = np.empty((64, len(response)), dtype=np.float32)
        elif self._count == len(self._responses):
            self._responses = np.concatenate([self._responses, np.empty_like(self._responses)])
        self._responses[self._count] = response
        self._count += 1

    def resembles(self, graph: Graph) -> bool:
        """Whether an earlier graph responds alike."""
        if self._responses is None:
            return False
        response = start_response(graph)
        if response is None:
            return False
        earlier = self._responses[: self._count]
        nearest = min(float(np.linalg.norm(earlier - r, axis=1).min()) for r in (response, -response))
        return nearest <= self.tolerance * float(np.linalg.norm(response))
