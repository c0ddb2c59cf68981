"""The result of the study as JSON: the layers with what became of them, and how well each proxy foretold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmarks.proxies.agreement import agreement
from benchmarks.training_rows import Row
from evonas.records.environment import environment


def summary(
    layers: Sequence[Mapping[str, str]],
    rows: Sequence[Row],
    targets: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Summarise the trainings.

    Args:
        layers: the layers with their origins.
        rows: the trainings under all proxies.
        targets: by name of a target, the mean accuracy of each layer that has been trained on it.
    """
    return {
        "environment": dict(environment()),
        "targets": {
            name: {
                "layers": [
                    {**layer, "accuracy": target[layer["layer"]]} for layer in layers if layer["layer"] in target
                ],
                "proxies": agreement(rows, target, name),
            }
            for name, target in targets.items()
        },
    }


def by_origin(layers: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, float, float]]:
    """The number of layers of each origin, their mean accuracy on a target, and that of the best of them."""
    found: dict[str, list[float]] = {}
    for layer in layers:
        found.setdefault(layer["origin"], []).append(layer["accuracy"])
    return {origin: (len(scores), fmean(scores), max(scores)) for origin, scores in found.items()}
