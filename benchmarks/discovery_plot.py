"""A picture of `benchmarks.discovery`: the best layer so far over compute, beside published layers.

python -m benchmarks.discovery_plot benchmarks/results/discovery.json -o docs/discovery.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

COLOURS = {
    "evolution": "#1f6fb4",
    "random": "#b0b0b0",
    "evolution from bn-relu and gn-relu": "#c2562d",
}
SHOWN = {"bn-relu": "BN-ReLU", "evonorm-b0": "EvoNorm-B0", "gn-relu": "GN-ReLU"}


def draw(document: dict[str, Any]) -> Figure:
    """The figure: progress of every run on the left, test accuracy with fresh seeds on the right."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    progress, test = figure.subplots(1, 2, width_ratios=(1.25, 1))
    seen: set[str] = set()
    longest = max(run["core_minutes"] for run in document["runs"])
    for run in document["runs"]:
        if not run["progress"]:
            continue  # nothing was scored
        points = [(0.0, 0.0), *run["progress"], (run["core_minutes"], run["progress"][-1][1])]
        label = None if run["label"] in seen else run["label"]
        seen.add(run["label"])
        minutes, best = zip(*points, strict=True)
        progress.step(minutes, best, where="post", color=COLOURS[run["label"]], linewidth=1.6, label=label)
    references = document["runs"][0]["references"]
    for name, shown in SHOWN.items():
        level = fmean(references[name].values())
        progress.axhline(level, color="#444444", linewidth=0.8, linestyle="--")
        progress.annotate(shown, (longest, level), ha="right", va="bottom", fontsize=8)
    progress.set(xlabel="core-minutes", ylabel="best mean validation accuracy so far", ylim=(0.2, None))
    progress.legend(loc="lower right", fontsize=8, frameon=False)
    rows = sorted((row for row in document["test"] if "mean" in row), key=lambda row: row["mean"])
    names = [row["layer"] if len(row["layer"]) <= 44 else row["layer"][:43] + "…" for row in rows]
    published = [row["layer"] in ("bn-relu", "bn-swish", "gn-relu", "evonorm-b0", "evonorm-s0") for row in rows]
    colours = ["#888888" if is_published else "#1f6fb4" for is_published in published]
    test.barh(names, [r["mean"] for r in rows], xerr=[r["spread"] for r in rows], color=colours, height=0.65)
    test.set(
        xlabel="test accuracy, mean of three anchors, fresh seeds", xlim=(min(r["mean"] for r in rows) - 0.1, None)
    )
    test.tick_params(axis="y", labelsize=7)
    for axes in (progress, test):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/discovery.svg"))
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    draw(json.loads(arguments.results.read_text())).savefig(arguments.output, dpi=150)


if __name__ == "__main__":
    main()
