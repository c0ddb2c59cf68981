"""The hypervolume of scored candidates: one number for the progress of a search on all anchors at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Hypervolume:
    """The part of the unit cube of accuracies that the points added so far dominate (Zitzler & Thiele 1998).

    Only non-dominated points are kept, so that the cost of a point does not grow with the length of a run.

    Args:
        objectives: the number of coordinates of a point.
    """

    def __init__(self, objectives: int) -> None:
        self._front = np.empty((0, objectives))
        self._value: float | None = 0.0

    def add(self, point: Sequence[float]) -> None:
        """Add a point of accuracies in 0 … 1."""
        new = np.asarray(point, dtype=np.float64)
        if (self._front >= new).all(axis=1).any():
            return
        kept = self._front[~(self._front <= new).all(axis=1)]
        self._front, self._value = np.vstack([kept, new]), None

    @property
    def value(self) -> float:
        """The volume, from 0 to 1; computed on access."""
        if self._value is None:
            # Imported here because it takes most of a second, and only a running search needs it.
            from pymoo.indicators.hv import HV

            self._value = float(HV(ref_point=np.zeros(self._front.shape[1]))(-self._front))
        return self._value
