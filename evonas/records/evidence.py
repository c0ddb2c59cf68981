"""What is known of the candidates of a recorded run from all of their trainings in the search."""

from __future__ import annotations

from math import isnan
from statistics import fmean
from typing import TYPE_CHECKING

from evonas.judging.rungs import Ladder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evonas.records.run_info import RunInfo
    from evonas.records.store import Store
    from evonas.settings.candidate import Candidate, Evaluation


def ladder_of(store: Store, run: RunInfo) -> Ladder:
    """The scores of a run's scored candidates on its rungs, and what is expected of each."""
    config = run.config
    ladder = Ladder(len(config.rungs), config.promotion)
    indices, accuracies = store.objectives(run.id, config.protocol.anchors)
    for index, scores in zip(indices, accuracies.tolist(), strict=True):
        ladder.add(index, 0, fmean(scores))
    found: dict[tuple[int, int], list[float]] = {}
    rungs = {(p.seed, p.steps): n for n in range(1, len(config.rungs) + 1) for p in [config.on_rung(n)]}
    for one in store.rung_trainings(run.id):
        if isinstance(one.layer, int):
            found.setdefault((one.layer, rungs[one.seed, one.steps]), []).append(one.score)
    for (index, rung), scores in sorted(found.items(), key=lambda item: item[0][1]):
        if len(scores) == len(config.protocol.anchors) and not any(map(isnan, scores)):
            ladder.add(index, rung, fmean(scores))
    return ladder


def best_known(store: Store, run: RunInfo, limit: int) -> Sequence[tuple[Candidate, Evaluation, tuple[float, ...]]]:
    """The best scored candidates, best first, and the mean accuracies of their longer trainings.

    With rungs, candidates are compared by what all of their trainings promise (`Outlook.cautious`), otherwise by their
    mean score.
    """
    if not run.config.rungs:
        return [(*pair, ()) for pair in store.best(run.id, limit)]
    ladder = ladder_of(store, run)
    order = sorted(ladder.indices, key=lambda index: (-ladder.outlook(index).cautious, index))[: max(0, limit)]
    return [(*pair, ladder.scores(pair[0].index)[1:]) for pair in store.pairs(run.id, order)]
