"""The response curve of a layer: how one element of the output depends on the same element of the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from evonas.language.graph import Graph
from evonas.layers.reference import evaluate
from evonas.report.progress import finite

_SHAPE, _GROUPS = (4, 8, 6, 6), 4  # two channels per group, so that all index sets differ
_POINTS, _REACH = 81, 4.0
SCALES = (0.5, 1.0, 2.0)
"""The standard deviations of all other elements of the batch."""


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """A layer's response to one element of its input.

    Attributes:
        x: the values of the element.
        curves: for each standard deviation of the other elements, the value of the output element before the affine;
            None where it is not finite.
    """

    x: tuple[float, ...]
    curves: Mapping[float, tuple[float | None, ...]]


def response(graph: Graph) -> ResponseCurve:
    """Computes the response of a layer at the start of training, in float64.

    At that point parameters are what they start at, and statistics come from the batch. In a batch of shape (4, 8, 6,
    6) with groups of two channels, one element runs from -4 to 4. All other elements are fixed; they come from a normal
    distribution and are the same for every layer. The response of a layer that normalises depends on their standard
    deviation, while that of a pure activation does not.
    """
    others = torch.randn(_SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64)
    curves: dict[float, tuple[float | None, ...]] = {}
    for scale in SCALES:
        x, outputs = scale * others, []
        for value in grid:
            x[0, 0, 0, 0] = value
            outputs.append(finite(float(evaluate(graph, x, groups=_GROUPS)[0, 0, 0, 0])))
        curves[scale] = tuple(outputs)
    return ResponseCurve(tuple(grid.tolist()), curves)
