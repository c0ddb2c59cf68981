"""The tables of docs/SCIENCE.md about proxies, generated from the JSON of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import markdown_table
from benchmarks.proxies.proxy_table import LONG, PROXIES
from benchmarks.proxies.summary import by_origin

SHOWN = (
    ("crops 50", ("mobilenet-small",)),
    ("crops 100", ("mobilenet-small",)),
    ("crops 100", ("resnet-small",)),
    ("crops 100", ("vgg-small",)),
    ("crops 100", ("resnet-small", "mobilenet-small", "vgg-small")),
    ("crops 100, lr 0.05", ("mobilenet-small",)),
    ("crops 100, lr 0.2", ("mobilenet-small",)),
    ("crops 100, lr 0.2", ("resnet-small", "mobilenet-small", "vgg-small")),
    ("crops 200", ("mobilenet-small",)),
    ("crops 200", ("resnet-small", "mobilenet-small", "vgg-small")),
    ("crops 400", ("mobilenet-small",)),
    ("crops 400", ("resnet-small", "mobilenet-small", "vgg-small")),
)
"""The proxies and networks in the table; the JSON has all."""


def tables(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the lines of each table, by a short name.

    Args:
        document: the JSON written by `python -m benchmarks.proxies`.
    """
    target = document["targets"][LONG.name]
    found = {(row["proxy"], tuple(row["anchors"])): row for row in target["proxies"] if row["seeds"] == 1}
    by_name = {proxy.name: proxy for proxy in PROXIES}
    rows = [
        [
            str(by_name[proxy].steps),
            f"{by_name[proxy].lr:g}",
            ", ".join(name.removesuffix("-small") for name in anchors),
            f"{row['core_seconds']:.1f}",
            f"{row['correlation']:.2f}",
            f"{row['correlation_of_better_half']:.2f}",
            f"{100 * row['regret']:.1f}",
        ]
        for proxy, anchors in SHOWN
        for row in [found[proxy, anchors]]
    ]
    header = ["steps", "rate", "networks", "core-seconds", "rank correlation", "of the better half", "regret in points"]
    origins = [
        [origin, str(count), f"{mean:.3f}", f"{best:.3f}"]
        for origin, (count, mean, best) in by_origin(target["layers"]).items()
    ]
    return {
        "proxies": markdown_table(header, rows),
        "origins": markdown_table(["what the search had done", "layers", "mean", "best"], origins),
    }
