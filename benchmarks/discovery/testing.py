"""The test: winners and published layers, trained longer than any search did, with seeds that nothing else uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from benchmarks.training_rows import Job, Row
from evonas.front.api import Result
from evonas.reruns.rerank_plan import unseen_anchor
from evonas.reruns.significance import holm, paired
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

PUBLISHED = ("bn-relu", "gn-relu", "bn-swish", "evonorm-b0", "evonorm-b1", "evonorm-s0")
SEEDS = tuple(range(20_000, 20_010))
LONGER = 4
"""Times the steps of the longest training of the search."""
NAME = "test"


def winner_of(result: Result) -> str | None:
    """Return the expression of the layer that a search verified, or of its best layer if it verifies nothing.

    None if the search scored nothing, or verified none of its layers because all collapsed.
    """
    verdict = result.verdict
    if verdict is not None and not verdict.missing:
        return None if verdict.layer is None or verdict.collapsed else verdict.layer.expression
    best = result.best(1)
    return best[0].expression if best and not result.run.config.finalists else None


def protocol_of_test(config: RunConfig, unseen: str | None, seed: int) -> EvaluationProtocol:
    """Return how winners of a search are tested: on its anchors and on an unseen one."""
    protocol = config.protocol
    return replace(
        protocol,
        anchors=(*protocol.anchors, unseen) if unseen else protocol.anchors,
        steps=LONGER * max((1, *config.rungs)) * protocol.steps,
        seed=seed,
        hurdle_steps=(),
        objectives=("anchors",),
    )


def jobs(results: Sequence[Result], seeds: Sequence[int] = SEEDS) -> list[Job]:
    """Return the trainings of all winners and of the published layers, seed by seed."""
    first = results[0].run
    unseen = unseen_anchor(first)
    layers = [*PUBLISHED, *dict.fromkeys(winner for winner in map(winner_of, results) if winner)]
    return [Job(layer, NAME, protocol_of_test(first.config, unseen, seed)) for seed in seeds for layer in layers]


def by_seed(rows: Sequence[Row], layer: str, anchors: Sequence[str]) -> dict[int, float]:
    """Return a layer's mean accuracy over some anchors, for each seed that was trained on all of them."""
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if row.layer == layer and row.anchor in anchors:
            found.setdefault(row.seed, {})[row.anchor] = row.score
    return {seed: fmean(scores.values()) for seed, scores in found.items() if len(scores) == len(anchors)}


def comparisons(rows: Sequence[Row], winner: str, anchors: Sequence[str]) -> list[Mapping[str, Any]]:
    """Compare a winner with each published layer over the same seeds, corrected for the number of comparisons."""
    mine, found = by_seed(rows, winner, anchors), []
    for name in PUBLISHED:
        other = by_seed(rows, name, anchors)
        seeds = sorted(mine.keys() & other.keys())
        found.append((name, paired([mine[s] for s in seeds], [other[s] for s in seeds])))
    corrected = holm([None if one is None else one.p for _, one in found])
    return [
        {
            "published": name,
            "difference": None if one is None else one.difference,
            "interval": None if one is None or one.interval is None else [one.interval.low, one.interval.high],
            "pairs": 0 if one is None else one.pairs,
            "p": p,
        }
        for (name, one), p in zip(found, corrected, strict=True)
    ]
