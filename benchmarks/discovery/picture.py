"""The picture of the study: how far the layer of each search is ahead of published layers, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.discovery.testing import PUBLISHED

COLOURS = ("#1f6fb4", "#9a9a9a", "#2f9e6e", "#c2562d", "#7b52a8", "#b8860b")
"""One for each published layer."""


def picture(document: Mapping[str, Any], yardstick: str, variant: str) -> Figure | None:
    """Draw the differences of each search of a variant, on a yardstick's networks and on the unseen one.

    A dot is the mean difference in accuracy over seeds, in points, and its line is the 95% interval.

    Returns:
        The figure; None if no winner was trained.
    """
    searches = [one for one in document["searches"] if one["variant"] == variant and yardstick in one["tests"]]
    if not searches:
        return None
    by = document["yardsticks"][yardstick]
    panels = [("test", f"mean over {', '.join(by['anchors'])}")]
    panels += [("unseen", f"{by['unseen']}, which no search saw")] if by["unseen"] else []
    figure = Figure(figsize=(6 * len(panels), 1.2 + 0.9 * len(searches)), layout="constrained")
    for axes, (where, title) in zip(np.atleast_1d(figure.subplots(1, len(panels), sharey=True)), panels, strict=True):
        for row, search in enumerate(searches):
            _differences(axes, row, search["tests"][yardstick][where])
        axes.axvline(0.0, color="#666666", linewidth=0.8)
        axes.set(title=title, xlabel="points above the published layer")
        axes.set_yticks(range(len(searches)), [f"seed {one['seed']}" for one in searches])
        axes.set_ylim(len(searches) - 0.5, -0.5)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(PUBLISHED), frameon=False)
    return figure


def _differences(axes: Any, row: int, compared: Sequence[Mapping[str, Any]]) -> None:
    for place, one in enumerate(compared):
        if one["difference"] is None:
            continue
        y = row + 0.7 * ((place + 0.5) / len(compared) - 0.5)
        label = one["published"] if row == 0 else None
        axes.plot([100 * one["difference"]], [y], "o", color=COLOURS[place], markersize=4, label=label)
        if one["interval"]:
            axes.plot([100 * end for end in one["interval"]], [y, y], color=COLOURS[place], linewidth=1.2)
