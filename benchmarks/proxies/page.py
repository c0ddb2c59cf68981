"""The tables of docs/SCIENCE.md about proxies, generated from the JSON of the study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import markdown_table
from benchmarks.proxies.proxy_table import FURTHER, LONG, LONGS, PROXIES, TARGET
from benchmarks.proxies.summary import by_origin

ALL = ("resnet-small", "mobilenet-small", "vgg-small")
SHOWN = (
    ("crops 50, lr 0.2", ("mobilenet-small",)),
    ("crops 100, lr 0.2", ("mobilenet-small",)),
    ("crops 100, lr 0.2", ("resnet-small",)),
    ("crops 100, lr 0.2", ("vgg-small",)),
    ("crops 100, lr 0.2", ALL),
    *((f"crops 100{rate}", ("mobilenet-small",)) for rate in (", lr 0.05", "", ", lr 0.4")),
    ("crops 100", ALL),
    ("crops 200, lr 0.2", ("mobilenet-small",)),
    ("crops 200, lr 0.2", ALL),
    ("crops 400, lr 0.2", ("mobilenet-small",)),
    ("crops 400, lr 0.2", ALL),
    ("crops 400", ALL),
)
"""The proxies and networks in the table; the JSON has all."""
SHOWN_FOR_TARGET = (
    ("crops 100, lr 0.2", ALL),
    ("crops 100, lr 0.4", ("mobilenet-small",)),
    ("crops 200, lr 0.2", ALL),
    ("crops 400, lr 0.2", ALL),
    ("crops 1600, lr 0.2", ALL),
    ("crops 400, medium", ("resnet-medium",)),
    ("crops 400, medium", ("mobilenet-medium",)),
    ("crops 400, medium", ("resnet-medium", "mobilenet-medium")),
    ("CIFAR-10 400, 16 pixels, medium", ("resnet-medium", "mobilenet-medium")),
)
"""Those in the table of what predicts the target, as far as they were trained."""
PUBLISHED = "published"
"""The origin of published layers."""


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
        **({"target": for_target(document)} if TARGET in document["targets"] else {}),
        "rates": rates(document),
        "proxies": markdown_table(header, rows),
        "origins": markdown_table(["what the search had done", "layers", "mean", "best"], origins),
    }


def for_target(document: Mapping[str, Any]) -> list[str]:
    """Format how well short trainings predict CIFAR-10 on medium networks."""
    found, further = (
        {
            (row["proxy"], tuple(row["anchors"])): row
            for row in document["targets"][name]["proxies"]
            if row["seeds"] == 1
        }
        for name in (TARGET, FURTHER)
    )
    rows = [
        [
            proxy,
            ", ".join(name.removesuffix("-small") for name in anchors),
            f"{row['core_seconds']:.1f}",
            f"{row['correlation']:.2f}",
            f"{row['correlation_of_better_half']:.2f}",
            f"{100 * row['regret']:.1f}",
            f"{other['correlation']:.2f}" if (other := further.get((proxy, anchors))) is not None else "",
        ]
        for proxy, anchors in SHOWN_FOR_TARGET
        if (row := found.get((proxy, anchors))) is not None
    ]
    header = ["short training", "networks", "core-seconds", "rank correlation", "of the better half"]
    return markdown_table([*header, "regret in points", "of 22 further layers"], rows)


def rates(document: Mapping[str, Any]) -> list[str]:
    """Format what published layers have after the long trainings, by their learning rate."""
    longs = [long for long in sorted(LONGS, key=lambda long: long.lr) if long.name in document["targets"]]
    reached = [{one["layer"]: one["accuracy"] for one in document["targets"][long.name]["layers"]} for long in longs]
    names = [one["layer"] for one in document["targets"][LONG.name]["layers"] if one["origin"] == PUBLISHED]
    rows = [[f"{long.lr:g}", *(f"{of[name]:.3f}" for name in names)] for long, of in zip(longs, reached, strict=True)]
    return markdown_table(["rate", *names], rows)
