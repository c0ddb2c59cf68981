"""The tables of docs/FIRST_STUDY.md, generated from the JSON of the study, so that every number is a recorded one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean
from typing import Any

from benchmarks.markdown import markdown_table

Document = Mapping[str, Any]

LABELS = {
    "pareto": "pareto, as published",
    "average": "average, as published",
    "random": "random",
    "mended": "pareto, mended",
    "random, mended": "random, with the same filters",
}
_REACHED = 0.65
"""Accuracy of the simulated random searches to which the page gives the time."""
_HURDLES = ((None, 0.5), (20, 0.5), (60, 0.25), (60, 0.5), (60, 0.75), (80, 0.5))
"""Steps and quantiles shown on the page; the JSON has more."""


def tables(science: Document, reranked: Document) -> dict[str, list[str]]:
    """Return the lines of each table of the page, by a short name.

    Args:
        science: the JSON written by `python -m benchmarks.science`.
        reranked: the JSON printed by `evonas rerank -f json`.
    """
    census = science["census"]
    return {
        "strategies": strategies(science["strategies"]),
        "test": on_test_split(science["test"]),
        "reranked": rerank(reranked),
        "filters": filters(census["filters"]),
        "searches": searches(census["searches"]),
        "stability": stability(census["stability"]),
        "hurdles": hurdles(science["hurdles"]["replays"]),
    }


def strategies(by_label: Document) -> list[str]:
    """Format the results of each search variant over its seeds."""
    rows = []
    for label, numbers in by_label.items():
        counts = [f"{numbers[name]['mean']:,.0f}" for name in ("judged", "scored")]
        best, top, volume = (_spread(numbers[name]) for name in ("best", "top_10", "hypervolume"))
        rows.append([LABELS[label], *counts, best, top, f"{numbers['anchor_spread']['mean']:.3f}", volume])
    return markdown_table(["", "judged", "scored", "best", "ten best", "spread", "hypervolume"], rows)


def on_test_split(layers: Sequence[Document]) -> list[str]:
    """Format the best layer of each run, and published ones, the best first."""
    rows = []
    for layer in sorted(layers, key=lambda layer: -layer["mean"]):
        anchors = [f"{fmean(scores):.3f}" for scores in layer["scores"].values()]
        rows.append([f"`{layer['layer']}`", layer["from"], f"{layer['mean']:.3f} ± {layer['spread']:.3f}", *anchors])
    return markdown_table(["layer", "from", "test", "ResNet", "MobileNet", "EfficientNet"], rows)


def rerank(document: Document) -> list[str]:
    """Format the layers scored on the test split, with the half-widths of 95% intervals."""
    rows = []
    for layer in (*document["layers"], *document["references"]):
        if layer.get("test"):
            intervals = [_interval(layer[stage]) for stage in ("held-out", "test")]
            name = layer["name"] or layer["expression"]
            rows.append([f"`{name}`", *intervals, f"{layer['transfer']['mean']:.3f}"])
    return markdown_table(["layer", "held out", "test", "transfer"], rows)


def filters(found: Document) -> list[str]:
    """Format the effect of each filter of the default preset alone."""
    rows = []
    for name, label in _FILTERS.items():
        numbers = found[name]
        lost, best = numbers["rejected_that_learn"], numbers["best_rejected"]
        price = _rounded(numbers["seconds_to_reject"])
        rows.append([label, str(numbers["rejected"]), str(lost), f"{best:.2f}" if lost else "", price])
    return markdown_table(["filter", "rejects", "lost", "best lost", "median core-seconds to a no"], rows)


def searches(found: Document) -> list[str]:
    """Format simulated random searches with all filters, without each of them, and with none."""
    rows = []
    for name, label in _SETS.items():
        search = found[name]
        until = next(t for t, best in zip(search["seconds"], search["best"], strict=True) if best >= _REACHED)
        minute = search["best"][search["seconds"].index(60.0)]
        rows.append([label, f"{search['seconds_a_candidate']:.2f}", f"{minute:.2f}", f"{until:.0f}"])
    header = ["filters", "core-seconds a candidate", "mean best after one core-minute"]
    return markdown_table([*header, f"core-seconds until it is {_REACHED}"], rows)


def stability(by_kind: Document) -> list[str]:
    """Format the candidates caught by each stage of the gradient ascent."""
    random, evolved = by_kind["random"], by_kind["evolved"]
    caught, learn, of_evolved = (
        list(accumulate(row[name] for row in rows))
        for rows, name in ((random, "rejected"), (random, "rejected_that_learn"), (evolved, "rejected"))
    )
    rows = []
    for n, stages in enumerate(zip(random, evolved, strict=True)):
        price = fmean(row["seconds_to_stage"] for row in stages)  # the same steps for both kinds of candidates
        rows.append([str(stages[0]["stage"]), str(caught[n]), str(learn[n]), str(of_evolved[n]), _rounded(price)])
    header = ["steps", "random caught, in all", "of these, learn", "evolved caught, in all"]
    return markdown_table([*header, "core-seconds to get there"], rows)


def hurdles(replays: Sequence[Document]) -> list[str]:
    """Format what some hurdles would have saved and lost."""
    rows = []
    for step, quantile in _HURDLES:
        row = next(r for r in replays if (r["step"], r["quantile"]) == (step, quantile))
        where = "ends" if step is None else f"ends, step {step}"
        shares = [f"{100 * row[name]:.0f}%" for name in ("saved_of_run", "top_10_kept")]
        rows.append([where, f"{quantile:g}", *shares, str(row["best_kept"])])
    return markdown_table(
        ["checkpoints", "quantile", "compute of the run saved", "ten best kept", "best kept, of 6 runs"], rows
    )


_FILTERS = {
    "signal": "signal",
    "stability-5": "stability, 5 steps",
    "early-20": "early, 20 steps",
    "early-60": "early, 60 steps",
    "quality": "quality",
}
_SETS = {
    "every filter": "all",
    **{f"without {name}": f"all but {label.removesuffix(', 5 steps')}" for name, label in _FILTERS.items()},
    "no filter": "none",
}


def _spread(numbers: Document) -> str:
    return f"{numbers['mean']:.3f} ± {numbers['spread']:.3f}"


def _interval(sample: Document) -> str:
    low, high = sample["interval"]
    return f"{sample['mean']:.3f} ± {(high - low) / 2:.3f}"


def _rounded(seconds: float) -> str:
    """Format seconds with two significant digits."""
    return f"{seconds:.1f}" if seconds >= 1 else f"{seconds:.2g}"
