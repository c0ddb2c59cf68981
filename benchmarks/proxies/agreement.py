"""How well a proxy orders layers as the target does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.proxies.proxy_table import LONG, LONG_SEEDS, LONGS, PROXIES, SEEDS
from benchmarks.training_rows import Row

BEST = 10
"""Layers whose place on the target counts for the regret."""


def means(rows: Sequence[Row], name: str, anchors: Sequence[str], seeds: Sequence[int]) -> dict[str, float]:
    """Return the mean accuracy of each layer that has all of these trainings."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.protocol == name and row.anchor in anchors and row.seed in seeds:
            found.setdefault(row.layer, []).append(row.score)
    return {layer: fmean(scores) for layer, scores in found.items() if len(scores) == len(anchors) * len(seeds)}


def regret(proxy: Mapping[str, float], target: Mapping[str, float]) -> float:
    """Return by how much the best of the proxy's ten best layers is worse on the target than the best of all."""
    chosen = sorted(target, key=lambda layer: -proxy[layer])[:BEST]
    return max(target.values()) - max(target[layer] for layer in chosen)


def agreement(rows: Sequence[Row], target: Mapping[str, float], name: str = "") -> list[dict[str, Any]]:
    """Compare every proxy with the target: each choice of networks, with one seed and with two.

    Args:
        rows: the trainings.
        target: the accuracy of each layer on the target.
        name: of the target; the long trainings of `LONG` are compared with every target but themselves.
    """
    table = []
    for proxy in (*PROXIES, *(() if name in {long.name for long in LONGS} else (LONG,))):
        of_proxy = [row for row in rows if row.protocol == proxy.name]
        for size in range(1, len(proxy.anchors) + 1):
            for anchors in combinations(proxy.anchors, size):
                for seeds in (LONG_SEEDS[:1],) if proxy is LONG else (SEEDS[:1], SEEDS):
                    scores = means(of_proxy, proxy.name, anchors, seeds)
                    common = {layer: target[layer] for layer in target if layer in scores}
                    if len(common) > BEST:
                        table.append(_compared(proxy.name, anchors, seeds, scores, common, of_proxy))
    return table


def _compared(
    name: str,
    anchors: Sequence[str],
    seeds: Sequence[int],
    scores: Mapping[str, float],
    target: Mapping[str, float],
    rows: Sequence[Row],
) -> dict[str, Any]:
    layers = list(target)
    better = sorted(layers, key=lambda layer: -target[layer])[: len(layers) // 2]
    seconds = [row.seconds for row in rows if row.anchor in anchors and not row.diverged]
    return {
        "proxy": name,
        "anchors": list(anchors),
        "seeds": len(seeds),
        "layers": len(layers),
        "correlation": rank_correlation([scores[one] for one in layers], [target[one] for one in layers]),
        "correlation_of_better_half": rank_correlation(
            [scores[one] for one in better], [target[one] for one in better]
        ),
        "regret": regret(scores, target),
        "core_seconds": len(anchors) * len(seeds) * float(np.median(seconds)) if seconds else 0.0,
    }


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Return Spearman's rank correlation."""
    return float(spearmanr(first, second).statistic)
