"""The picture of the study: rank correlation with a target over core-seconds, one point for each proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

COLOURS = ("#1f6fb4", "#c2562d", "#2f9e6e", "#7b52a8", "#b8860b", "#9a9a9a")


def picture(target: Mapping[str, Any]) -> Figure:
    """Draw one line for each choice of networks, over trainings of several lengths on the default's task."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    chosen = [row for row in target["proxies"] if row["seeds"] == 1 and "," not in row["proxy"]]
    for place, anchors in enumerate(_choices(chosen)):
        rows = sorted((row for row in chosen if row["anchors"] == anchors), key=lambda row: row["core_seconds"])
        label = ", ".join(name.removesuffix("-small") for name in anchors)
        style = "-" if len(anchors) == 1 else "--"
        axes.plot(
            [row["core_seconds"] for row in rows],
            [row["correlation"] for row in rows],
            style,
            marker="o",
            color=COLOURS[place % len(COLOURS)],
            label=label,
        )
        for row in rows:
            steps = row["proxy"].split()[-1]
            axes.annotate(steps, (row["core_seconds"], row["correlation"]), (0, 5), textcoords="offset points", size=7)
    axes.set(xscale="log", xlabel="core-seconds for a layer", ylabel="rank correlation with 1,600 steps")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _choices(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Each network alone, and all of them."""
    found = sorted({tuple(row["anchors"]) for row in rows}, key=lambda names: (len(names), names))
    widest = max((len(names) for names in found), default=0)
    return [list(names) for names in found if len(names) in (1, widest)]
