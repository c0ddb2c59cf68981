"""The curve of a layer: what one element of its output does when that element of its input varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from evonas.language.graph import Graph
from evonas.layers.reference import evaluate
from evonas.report.progress import finite

_SHAPE, _GROUPS = (4, 8, 6, 6), 4  # two channels a group: the index sets stay distinct
_POINTS, _REACH = 81, 4.0
SCALES = (0.5, 1.0, 2.0)
"""Standard deviations of everything else in the batch."""


@dataclass(frozen=True, slots=True)
class ResponseCurve:
    """A layer's response to one element.

    Attributes:
        x: the values that the element takes.
        curves: for each standard deviation of the other elements, the output there before the affine; None where
            it is not finite.
    """

    x: tuple[float, ...]
    curves: Mapping[float, tuple[float | None, ...]]


def response(graph: Graph) -> ResponseCurve:
    """The response of a layer at the start of training (v0 = 0, v1 = 1, statistics from the batch), in float64.

    One element of a batch of shape (4, 8, 6, 6), in groups of two channels, runs from -4 to 4, while every other
    element of its channel and of the others is held: drawn from a normal distribution, the same for every layer. A
    layer that normalises answers differently as the spread of these changes, and one that only activates does not.
    """
    others = torch.randn(_SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    grid = torch.linspace(-_REACH, _REACH, _POINTS, dtype=torch.float64)
    v0, v1 = torch.zeros(_SHAPE[1], dtype=torch.float64), torch.ones(_SHAPE[1], dtype=torch.float64)
    curves: dict[float, tuple[float | None, ...]] = {}
    for scale in SCALES:
        x, answers = scale * others, []
        for value in grid:
            x[0, 0, 0, 0] = value
            answers.append(finite(float(evaluate(graph, x, v0, v1, groups=_GROUPS)[0, 0, 0, 0])))
        curves[scale] = tuple(answers)
    return ResponseCurve(tuple(grid.tolist()), curves)
