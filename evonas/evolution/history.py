"""The state of a search: its candidates, population and hurdles, all of which can be restored from the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.evolution.promotions import Promotions
from evonas.judging.hurdles import Hurdles
from evonas.judging.prospects import Prospects, worth
from evonas.judging.selection import Population
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evonas.judging.cheap_filters import ResumableFilters
    from evonas.records.store import Store
    from evonas.settings.run_config import RunConfig


class History:
    """The candidates of a run, and the population and hurdles that follow from their results.

    A candidate is drawn, then evaluated, and then *applied*: its result is added to the population and the hurdles, in
    order of index. An applied candidate is forgotten, except for what the parts below keep.

    Args:
        config: the configuration of the run.

    Attributes:
        drawn: the number of candidates drawn so far.
        applied: the candidates below this index have been applied.
        candidates: the candidates that have not been applied, by index.
        evaluations: their evaluations, if finished, by index.
        core_seconds: core-seconds that workers have spent on the run.
        population: the window from which parents are chosen.
        hurdles: the accuracies that candidates must reach at checkpoints.
        promotions: the longer trainings of good candidates.
        prospects: how accurate candidates became, by how they start.
    """

    def __init__(self, config: RunConfig) -> None:
        self.drawn = self.applied = 0
        self.candidates: dict[int, Candidate] = {}
        self.evaluations: dict[int, Evaluation] = {}
        self.core_seconds = 0.0
        self.population = Population(config.population)
        self.hurdles = Hurdles(config.protocol, config.population)
        self.promotions = Promotions(config)
        self.prospects = Prospects()
        self._config = config

    def restore(
        self, store: Store, run_id: int, filters: ResumableFilters, remember: Callable[[Candidate], None]
    ) -> None:
        """Restore the state before the first candidate that has not been evaluated, or else been drawn.

        Of the candidates further back only the keys, how they ended, and the scored ones are read.

        Args:
            store: the store that has the run.
            run_id: the run.
            filters: the cheap filters, to which the keys of its candidates are added.
            remember: adds a candidate to the filters whose recorded keys are incomplete.
        """
        complete = True
        for keys in store.candidate_keys(run_id):
            complete &= filters.recall(keys)
            self.drawn += 1
        if not complete:  # a run of an earlier version of evonas
            for candidate in store.candidates(run_id):
                if candidate.start is None:
                    remember(candidate)
        summary = store.summary(run_id)
        self.core_seconds = summary.core_seconds
        first = min(store.unevaluated(run_id), default=self.drawn)
        self.applied = max(0, first - self._config.lookahead)
        for pair in self._scored(store, run_id):
            self.population.add(*pair)
        for name in self.hurdles.names:
            for value in store.filter_values(run_id, name, self.applied, self.hurdles.window):
                self.hurdles.add_value(name, value)
        if self._config.choices > 1:
            for ending in store.endings(run_id, self.applied):
                self.prospects.add(ending.start, worth(ending))
        self.candidates = {c.index: c for c in store.candidates(run_id, self.applied)}
        self.evaluations = {e.index: e for e in store.evaluations(run_id, self.applied)}

    def _scored(self, store: Store, run_id: int) -> Iterable[tuple[Candidate, Evaluation]]:
        """The scored candidates that have been applied and are in the window; all of them pass the promotions."""
        if not self._config.uses_ladder:
            return store.newest_scored(run_id, self.applied, self._config.population)
        self.promotions.recall(store.rung_trainings(run_id))
        scored = store.newest_scored(run_id, self.applied, self.drawn)
        for candidate, evaluation in scored:
            self.promotions.apply(candidate.index, candidate, evaluation)
        self.promotions.apply_until(self.applied - 1)
        return scored[-self._config.population :]

    def add_candidate(self, candidate: Candidate) -> None:
        """Add a candidate that was drawn."""
        self.candidates[candidate.index] = candidate
        self.drawn += 1

    def add_evaluation(self, evaluation: Evaluation) -> None:
        """Add a finished evaluation."""
        if evaluation.rung:
            self.promotions.finish(evaluation)
        else:
            self.evaluations[evaluation.index] = evaluation
        self.core_seconds += evaluation.core_seconds

    def has_results_until(self, last: int) -> bool:
        """Whether everything is there that is applied with candidates up to index `last`."""
        evaluated = all(i in self.evaluations for i in range(self.applied, last + 1))
        return evaluated and self.promotions.has_results_until(last)

    def apply_all(self) -> None:
        """Apply the results that are there at the end of the search, as far as they go in order."""
        while self.applied < self.drawn and self.has_results_until(self.applied):
            self.apply_until(self.applied)
        if self.applied == self.drawn:
            self.promotions.apply_all()

    def apply_until(self, last: int) -> None:
        """Apply the results of all candidates up to index `last` to the population and the hurdles, in order."""
        while self.applied <= last:
            candidate, evaluation = self.candidates.pop(self.applied), self.evaluations.pop(self.applied)
            self.hurdles.add(evaluation)
            if self._config.choices > 1:
                self.prospects.add(candidate.start, worth(evaluation))
            self.promotions.apply(self.applied, candidate, evaluation)
            if evaluation.status is Status.SCORED:
                self.population.add(candidate, evaluation)
            self.applied += 1
