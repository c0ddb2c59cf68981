"""The tables of docs/SCIENCE.md about the target, generated from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.markdown import markdown_table

FIRST = 10
"""Layers in the table; the published ones follow with their places."""


def tables(document: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the lines of each table, by a short name.

    Args:
        document: the JSON written by `python -m benchmarks.target`.
    """
    layers, anchors = document["layers"], [*document["anchors"], document["unseen"]]
    placed = list(enumerate(layers, 1))
    shown = [(place, one) for place, one in placed if place <= FIRST or one["origin"] == "published"]
    rows = [
        [
            str(place),
            f"`{one['layer']}`",
            one["origin"],
            f"{one['accuracy']:.3f}",
            *(f"{one['networks'][name]:.3f}" for name in anchors),
        ]
        for place, one in shown
    ]
    header = ["place", "layer", "origin", "mean", *(name.removesuffix("-medium") for name in anchors)]
    origins = []
    for origin in dict.fromkeys(one["origin"] for one in layers):
        of = [(place, one["accuracy"]) for place, one in placed if one["origin"] == origin]
        origins.append(
            [origin, str(len(of)), f"{fmean(score for _, score in of):.3f}", f"{of[0][1]:.3f}", str(of[0][0])]
        )
    return {
        "layers": markdown_table(header, rows),
        "origins": markdown_table(["origin", "layers", "mean", "best", "its place"], origins),
    }
