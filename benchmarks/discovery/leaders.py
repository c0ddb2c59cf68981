"""Who led a search, and since when: the layers that a user would have taken home, had the search ended there.

A search is replayed from its records: what is known of each candidate grows in the order in which the search learned
it, and the leader is the candidate that promises most by all of its trainings so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isinf
from statistics import fmean, median

from benchmarks.discovery.testing import Yardstick, by_seed
from benchmarks.training_rows import Row
from evonas.evolution.promotions import Promotions
from evonas.front.result import Result
from evonas.judging.rungs import Promotion
from evonas.records.retraining import Retraining
from evonas.settings.run_config import RunConfig

PASSED = ("bn-relu", "evonorm-b0", "bn-swish")
"""The published layers whose passing is timed."""


@dataclass(frozen=True, slots=True)
class Leader:
    """A layer that led a search for a while.

    Attributes:
        core_minutes: what candidates had cost the search when the layer came to lead, with longer trainings that were
            under way. What published layers took, by which it sets its floors, is left out.
        layer: its expression.
    """

    core_minutes: float
    layer: str


def leaders(result: Result) -> list[Leader]:
    """Return the leaders of a search in order; one that returns to the lead is listed again."""
    store, run = result.store, result.run
    trainings, evaluations = store.rung_trainings(run.id), {one.index: one for one in store.evaluations(run.id)}
    promotions, price = Promotions(run.config), _prices(run.config, trainings)
    promotions.recall(trainings)
    first_evaluations, asked, found, expressions = 0.0, set[Promotion](), list[Leader](), dict[int, str]()

    def look() -> None:
        asked.update(promotions.pending)  # whose trainings are under way, or have just ended
        ladder = promotions.ladder
        best = max(ladder.indices, key=lambda index: (ladder.outlook(index).cautious, -index), default=None)
        if best is not None and (not found or expressions[best] != found[-1].layer):
            spent = first_evaluations + sum(price.get(promotion, 0.0) for promotion in asked)
            found.append(Leader(spent / 60, expressions[best]))

    for candidate in store.candidates(run.id):
        if (evaluation := evaluations.get(candidate.index)) is None:
            break  # a run that was stopped has not drawn on what follows
        first_evaluations += evaluation.core_seconds
        expressions[candidate.index] = candidate.graph.canonical.expression()
        promotions.apply(candidate.index, candidate, evaluation)
        look()
    promotions.apply_all()
    look()
    return found


def _prices(config: RunConfig, trainings: Sequence[Retraining]) -> dict[Promotion, float]:
    """Return the core-seconds of longer trainings, over all networks of a rung."""
    rungs = {config.on_rung(rung).seed: rung for rung in range(1, len(config.rungs) + 1)}
    found: dict[Promotion, float] = {}
    for one in trainings:
        promotion = Promotion(int(one.layer), rungs[one.seed])
        found[promotion] = found.get(promotion, 0.0) + one.seconds
    return found


def passing(some: Sequence[Leader], rows: Sequence[Row], by: Yardstick) -> dict[str, float | None]:
    """Return the core-minutes from which on the leader of a search is better than a published layer, by its name.

    None if the last leader is not. Layers are compared by their mean accuracy over the networks and seeds of the
    yardstick.
    """
    mean = {one.layer: _mean(rows, by, one.layer) for one in some}
    found: dict[str, float | None] = {}
    for name in PASSED:
        reference, since = _mean(rows, by, name), None
        for leader in some:
            ahead = mean[leader.layer] > reference
            since = (leader.core_minutes if since is None else since) if ahead else None
        found[name] = since
    return found


def _mean(rows: Sequence[Row], by: Yardstick, layer: str) -> float:
    scores = by_seed(rows, by.task, layer, by.anchors).values()
    return fmean(scores) if scores else 0.0


def medians(some: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Return the median over searches of the core-minutes of passing; None where half of them never passed."""
    times = {name: [inf if (since := one[name]) is None else since for one in some] for name in PASSED}
    return {name: None if isinf(median(each)) else median(each) for name, each in times.items()}
