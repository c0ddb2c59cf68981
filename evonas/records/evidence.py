"""What is known of the candidates of a recorded run from all of their trainings in the search."""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from evonas.judging.families import Family, family_of
from evonas.judging.rungs import Ladder, Promotion, Scores
from evonas.settings.candidate import Candidate, Evaluation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from evonas.records.retraining import Retraining
    from evonas.records.run_info import RunInfo
    from evonas.records.store import Store
    from evonas.settings.run_config import RunConfig

Known = tuple[Candidate, Evaluation, tuple[float, ...]]
"""A scored candidate, its evaluation, and the mean accuracies of its longer trainings, shortest first."""


def ladder_of(store: Store, run: RunInfo) -> Ladder:
    """The scores of a run's scored candidates on its rungs, and what is expected of each."""
    config = run.config
    ladder = Ladder.of(config)
    indices, accuracies = store.objectives(run.id, config.protocol.anchors)
    candidates = {candidate.index: candidate for candidate, _ in store.pairs(run.id, indices)}
    for index, scores in zip(indices, accuracies.tolist(), strict=True):
        ladder.add(index, 0, scores, family_of(candidates[index].graph), candidates[index].origin.parent)
    for promotion, scores in sorted(rung_scores(config, store.rung_trainings(run.id)).items(), key=_rung):
        if scores is not None:
            ladder.add(promotion.index, promotion.rung, scores)
    return ladder


def rung_scores(config: RunConfig, records: Iterable[Retraining]) -> dict[Promotion, Scores | None]:
    """The scores of trainings on rungs that are recorded on every anchor of their rung; None for those that failed."""
    rungs = {(p.steps, p.seed): rung for rung in range(1, len(config.rungs) + 1) for p in [config.on_rung(rung)]}
    found: dict[Promotion, dict[str, float]] = {}
    for record in records:
        if isinstance(record.layer, int):
            promotion = Promotion(record.layer, rungs[record.steps, record.seed])
            found.setdefault(promotion, {})[record.anchor] = record.score
    anchors = {rung: config.on_rung(rung).anchors for rung in rungs.values()}
    whole = {
        promotion: tuple(scores[anchor] for anchor in anchors[promotion.rung])
        for promotion, scores in found.items()
        if len(scores) == len(anchors[promotion.rung])
    }
    return {promotion: None if any(map(isnan, scores)) else scores for promotion, scores in whole.items()}


def _rung(item: tuple[Promotion, Scores | None]) -> int:
    return item[0].rung


def best_known(store: Store, run: RunInfo, limit: int) -> Sequence[Known]:
    """The best scored candidates, best first, and the mean accuracies of their longer trainings.

    With rungs, candidates are compared by what all of their trainings promise (`Outlook.cautious`), otherwise by their
    mean score.
    """
    return _ranking(store, run)(limit)


def _ranking(store: Store, run: RunInfo) -> Callable[[int], Sequence[Known]]:
    """What reads so many of the best; all that is compared is read once, here."""
    if not run.config.rungs:
        return lambda limit: [(*pair, ()) for pair in store.best(run.id, limit)]
    ladder = ladder_of(store, run)
    order = sorted(ladder.indices, key=lambda index: (-ladder.outlook(index).cautious, index))
    return lambda limit: [
        (*pair, ladder.scores(pair[0].index)[1:]) for pair in store.pairs(run.id, order[: max(0, limit)])
    ]


def best_of_families(store: Store, run: RunInfo, limit: int, among: int | None = None) -> list[Known]:
    """The best candidate of each family, best first, for at most `limit` families.

    Args:
        store: the store that holds the run.
        run: the run.
        limit: the largest number of families.
        among: among how many of the best candidates they are sought, so that a large run is not read whole; None for
            all of them.
    """
    size, best = 2 * limit, _ranking(store, run)
    while True:
        reading = size if among is None else min(size, among)
        found: dict[Family, Known] = {}
        known = best(reading)
        for one in known:  # from the first again, because a running search may have a new best layer by now
            if len(found) >= limit:
                break
            found.setdefault(family_of(one[0].graph), one)
        if len(found) >= limit or len(known) < size or reading == among:
            return list(found.values())
        size *= 5
