"""The pictures of the study, drawn from its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {
    "pareto": "#1f6fb4",
    "average": "#2f9e6e",
    "random": "#9a9a9a",
    "mended": "#c2562d",
    "random, mended": "#7b52a8",
}
CURVES = (("hypervolume", "hypervolume"), ("best", "best mean accuracy"), ("top_10", "mean of the ten best"))

Document = dict[str, Any]


def draw(document: Document, folder: Path) -> list[Path]:
    """Draw every picture for which the document has numbers, as SVG files in `folder`."""
    pictures = {"strategies": strategies(document)}
    if document.get("census"):
        pictures |= {"random_layers": random_layers(document), "filters": filters(document)}
        pictures["stability"] = stability(document)
    if document.get("hurdles"):
        pictures["hurdles"] = hurdles(document)
    paths = []
    for name, figure in pictures.items():
        path = folder / f"science_{name}.svg"
        figure.savefig(path)
        paths.append(path)
    return paths


def _figure(width: float, *ratios: float) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(ratios), width_ratios=ratios))
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
    return figure, list(axes)


def strategies(document: Document) -> Figure:
    """Plot quality over compute: the mean over seeds, and the band between the lowest and the highest."""
    figure, axes = _figure(12, 1, 1, 1)
    runs = document["runs"]
    for (name, title), one in zip(CURVES, axes, strict=True):
        for label in dict.fromkeys(run["label"] for run in runs):
            mine = [run["over_time"] for run in runs if run["label"] == label]
            minutes, curves = np.array(mine[0]["minutes"]), np.array([run[name] for run in mine])
            one.plot(minutes, curves.mean(axis=0), color=COLOURS[label], label=f"{label} ({len(mine)} seeds)")
            one.fill_between(minutes, curves.min(axis=0), curves.max(axis=0), color=COLOURS[label], alpha=0.12)
        one.set(xlabel="core-minutes", title=title, ylim=(0.0 if name == "hypervolume" else 0.3, None))
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def random_layers(document: Document) -> Figure:
    """Plot the scores of random layers, one seed against another, and one anchor against another."""
    figure, (histogram, noise, anchors) = _figure(12, 1.3, 1, 1)
    census = document["census"]
    histogram.hist(census["means"], bins=np.linspace(0, 0.9, 37).tolist(), color="#1f6fb4")
    histogram.set(
        xlabel="mean accuracy after 100 steps", ylabel="layers (log scale)", yscale="log", title="random layers"
    )
    pairs = np.array(census["noise"]["pairs"])
    noise.scatter(pairs[:, 0], pairs[:, 1], s=10, color="#1f6fb4", alpha=0.7)
    noise.plot([0, 0.85], [0, 0.85], color="#999999", linewidth=0.8)
    noise.set(xlabel="seed 0", ylabel="seed 1", title="the same layer twice")
    scores = np.array(document["anchors"]["scores"])
    for other, colour, name in ((1, "#2f9e6e", "MobileNet"), (2, "#c2562d", "EfficientNet")):
        anchors.scatter(scores[:, 0], scores[:, other], s=6, color=colour, alpha=0.5, label=name)
    anchors.plot([0, 0.85], [0, 0.85], color="#999999", linewidth=0.8)
    anchors.set(xlabel="accuracy on the ResNet", ylabel="accuracy on the other", title="scored layers of all runs")
    anchors.legend(frameon=False, fontsize=8)
    return figure


def filters(document: Document) -> Figure:
    """Plot simulated random searches on the census, with and without each filter."""
    figure, (curves, prices) = _figure(10, 1.4, 1)
    searches = document["census"]["searches"]
    for place, (name, search) in enumerate(searches.items()):
        style = {"every filter": "-", "no filter": ":"}.get(name, "--")
        curves.plot(np.array(search["seconds"]) / 60, search["best"], style, color=f"C{place}", label=name)
    curves.set(xlabel="core-minutes", ylabel="best mean accuracy, average of 400 searches", title="random search")
    curves.legend(frameon=False, fontsize=8)
    names = list(searches)
    prices.barh(names[::-1], [searches[n]["seconds_a_candidate"] for n in names[::-1]], color="#1f6fb4", height=0.6)
    prices.set(title="core-seconds a candidate")
    return figure


def stability(document: Document) -> Figure:
    """Plot the share of candidates rejected by each stage of the gradient ascent."""
    figure, (bars,) = _figure(6, 1)
    for place, (kind, rows) in enumerate(document["census"]["stability"].items()):
        fallen = np.cumsum([row["rejected"] for row in rows]) / max(1, rows[0]["of"])
        at = np.arange(len(rows)) + 0.38 * (place - 0.5)
        bars.bar(at, fallen, width=0.36, color=("#9a9a9a", "#1f6fb4")[place], label=f"{kind} ({rows[0]['of']})")
        bars.set_xticks(range(len(rows)), [str(row["stage"]) for row in rows])
    bars.set(xlabel="steps of gradient ascent", ylabel="share rejected by then", title="stability")
    bars.legend(frameon=False, fontsize=8)
    return figure


def hurdles(document: Document) -> Figure:
    """Plot how well checkpoints predict the final score, and what hurdles at quantiles save and lose."""
    figure, (agreement, trade) = _figure(11, 1, 1.2)
    found = document["hurdles"]
    names = [name.removeprefix("hurdle ") for name in found["agreement"]]
    agreement.barh(names[::-1], list(found["agreement"].values())[::-1], color="#1f6fb4", height=0.6)
    agreement.set(title="rank correlation with the final mean", xlim=(0, 1))
    for place, step in enumerate(dict.fromkeys(row["step"] for row in found["replays"])):
        rows = [row for row in found["replays"] if row["step"] == step]
        label = "ends of anchors alone" if step is None else f"ends, and step {step}"
        saved, kept = [r["saved_of_run"] for r in rows], [r["top_10_kept"] for r in rows]
        trade.plot(saved, kept, "o-", color=f"C{place}", label=label, markersize=4)
        for row in rows if step is None else ():  # the other points are next to these
            trade.annotate(f"quantile {row['quantile']:g}", (row["saved_of_run"], row["top_10_kept"]), fontsize=7)
    trade.set(xlabel="share of the run's compute saved", ylabel="share of the ten best kept", title="hurdles")
    trade.legend(frameon=False, fontsize=8)
    return figure
