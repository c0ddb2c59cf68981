"""The picture of the study: rank correlation with a target over core-seconds, one point for each proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.proxies.proxy_table import LONG, PROXIES

COLOURS = ("#1f6fb4", "#c2562d", "#2f9e6e", "#7b52a8", "#b8860b", "#9a9a9a")


def picture(target: Mapping[str, Any]) -> Figure:
    """Draw one line for each choice of networks, over trainings of several lengths on the default's task and rate."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    steps = {proxy.name: proxy.steps for proxy in PROXIES}
    like = LONG.data, LONG.size, LONG.lr, LONG.anchors
    names = [proxy.name for proxy in PROXIES if (proxy.data, proxy.size, proxy.lr, proxy.anchors) == like]
    chosen = [row for row in target["proxies"] if row["seeds"] == 1 and row["proxy"] in names]
    for number, anchors in enumerate(_choices(chosen)):
        rows = sorted((row for row in chosen if row["anchors"] == anchors), key=lambda row: row["core_seconds"])
        label = ", ".join(name.removesuffix("-small") for name in anchors)
        style = "-" if len(anchors) == 1 else "--"
        axes.plot(
            [row["core_seconds"] for row in rows],
            [row["correlation"] for row in rows],
            style,
            marker="o",
            color=COLOURS[number % len(COLOURS)],
            label=label,
        )
        for row in rows:
            place = row["core_seconds"], row["correlation"]
            axes.annotate(str(steps[row["proxy"]]), place, (0, 5), textcoords="offset points", size=7)
    axes.set(xscale="log", xlabel="core-seconds for a layer", ylabel="rank correlation with 1,600 steps")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _choices(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Each network alone, and all of them."""
    found = sorted({tuple(row["anchors"]) for row in rows}, key=lambda names: (len(names), names))
    widest = max((len(names) for names in found), default=0)
    return [list(names) for names in found if len(names) in (1, widest)]
