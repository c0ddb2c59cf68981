"""The longer trainings that a search has asked for, and their results.

A training on a higher rung is asked for when the result of a candidate is applied, and its own result is applied a
fixed number of candidates later, whenever it really comes in. So what a candidate is drawn from does not depend on the
number or the speed of workers.
"""

from __future__ import annotations

from collections import deque
from math import nan
from typing import TYPE_CHECKING

from evonas.evolution.executor import Task
from evonas.judging.families import family_of
from evonas.judging.rungs import Ladder, Promotion, Scores
from evonas.records.evidence import rung_scores
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from evonas.settings.run_config import RunConfig


class Promotions:
    """The trainings on higher rungs of a run.

    Args:
        config: the configuration of the run.

    Attributes:
        ladder: what is known of the run's scored candidates.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self.ladder = Ladder.of(config)
        self._new: list[Promotion] = []
        self._pending: deque[tuple[int, Promotion]] = deque()  # with the clock at which the result is applied
        self._graphs: dict[int, str] = {}  # of the candidates that may still be promoted or are
        self._scores: dict[Promotion, Scores | None] = {}  # None if the training failed

    @property
    def pending(self) -> list[Promotion]:
        """The promotions whose results have not been applied, in the order in which they were asked for."""
        return [promotion for _, promotion in self._pending]

    def take(self) -> list[Promotion]:
        """The promotions since the last call whose trainings have to be carried out."""
        if not self._new:
            return []
        new, self._new = self._new, []
        pending = set(self.pending)
        return [promotion for promotion in new if promotion in pending and promotion not in self._scores]

    def task(self, promotion: Promotion) -> Task:
        """The first attempt at the training of a promotion, which may take as much longer as it has more steps."""
        index, rung = promotion.index, promotion.rung
        protocol, deadlines = self._config.on_rung(rung), float(self._config.rungs[rung - 1])
        return Task(index, 1, self._graphs[index], protocol, filtered=False, rung=rung, deadlines=deadlines)

    def finish(self, evaluation: Evaluation) -> None:
        """Note the result of a training."""
        scored = evaluation.status is Status.SCORED
        self._scores[Promotion(evaluation.index, evaluation.rung)] = self._by_anchor(evaluation) if scored else None

    def recall(self, records: Iterable[Retraining]) -> None:
        """Note the results that an earlier session recorded."""
        self._scores |= rung_scores(self._config, records)

    def has_results_until(self, clock: int) -> bool:
        """Whether the results that are applied at a clock or before are there.

        The clock is the index of the candidate whose result is applied.
        """
        return all(promotion in self._scores for due, promotion in self._pending if due <= clock)

    def apply_all(self) -> None:
        """Apply the results that are pending and there, at the end of a search. They may lead to further promotions."""
        while self._pending and self._pending[0][1] in self._scores:
            self._apply_next()

    def apply(self, clock: int, candidate: Candidate, evaluation: Evaluation) -> None:
        """Apply the results that are due at a clock, and then that of the candidate with this index, if scored."""
        self.apply_until(clock)
        if evaluation.status is Status.SCORED:
            graph = candidate.graph.canonical
            family = family_of(graph) if self._config.uses_ladder else ()
            if self._config.rungs:
                self._graphs[candidate.index] = graph.to_json()
            parent = candidate.origin.parent
            self._ask(clock, self.ladder.add(candidate.index, 0, self._by_anchor(evaluation), family, parent))

    def apply_until(self, clock: int) -> None:
        """Apply the results that are due at a clock or before."""
        while self._pending and self._pending[0][0] <= clock:
            self._apply_next()

    def _apply_next(self) -> None:
        due, promotion = self._pending.popleft()
        # A search waits for the results that are due. But a resumed run may have been recorded by an earlier version of
        # evonas, which forecast otherwise and trained others; their results count if they are promoted.
        scores = self._scores.pop(promotion, None)
        if scores is not None:
            self._ask(due, self.ladder.add(promotion.index, promotion.rung, scores))

    def _by_anchor(self, evaluation: Evaluation) -> Scores:
        config, rung = self._config, evaluation.rung
        anchors = config.on_rung(rung).anchors if rung else config.protocol.anchors
        return tuple(evaluation.scores[anchor] for anchor in anchors)

    def _ask(self, clock: int, promotions: list[Promotion]) -> None:
        self._new += promotions
        self._pending += [(clock + self._config.rung_lookahead, promotion) for promotion in promotions]


def as_records(config: RunConfig, evaluation: Evaluation) -> list[Retraining]:
    """The records of a training on a rung, one for each anchor."""
    protocol = config.on_rung(evaluation.rung)
    failed = evaluation.status is Status.FAILED
    seconds = [evaluation.seconds.get(anchor, 0.0) for anchor in protocol.anchors]
    seconds[0] += evaluation.core_seconds - sum(seconds)  # building kernels, which belongs to no anchor
    return [
        Retraining(
            layer=evaluation.index,
            stage=RetrainingStage.RUNG,
            anchor=anchor,
            seed=protocol.seed,
            steps=protocol.steps,
            held_out=0.0,
            score=nan if failed else evaluation.scores[anchor],
            seconds=spent,
            reason=evaluation.reason,
        )
        for anchor, spent in zip(protocol.anchors, seconds, strict=True)
    ]
