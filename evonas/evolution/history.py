"""What the search loop knows of its run, all of which the store knows too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evonas.judging.hurdles import Hurdles
from evonas.judging.selection import Population
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from evonas.judging.cheap_filters import ResumableFilters
    from evonas.records.store import Store
    from evonas.settings.run_config import RunConfig


class History:
    """Candidates are *drawn*, then evaluated, then *shown* to those that are drawn later, in order of index.

    Those that have been shown are forgotten, but for what the population and the hurdles keep.

    Args:
        config: of the run.

    Attributes:
        drawn: how many candidates there are.
        shown: candidates below this index have been applied to the population and the hurdles.
        candidates: those that have not been shown, by index.
        evaluations: theirs, as far as they are in.
        core_seconds: spent on the run.
        population: the window that parents are chosen from.
        hurdles: what candidates have to reach at checkpoints.
    """

    def __init__(self, config: RunConfig) -> None:
        self._lookahead, self._window = config.lookahead, config.population
        self.drawn = self.applied = 0
        self.candidates: dict[int, Candidate] = {}
        self.evaluations: dict[int, Evaluation] = {}
        self.core_seconds = 0.0
        self.population = Population(config.population)
        self.hurdles = Hurdles(config.protocol, config.population)

    def load(self, store: Store, run_id: int, filters: ResumableFilters, remember: Callable[[Candidate], None]) -> None:
        """Brings everything to where it was before the first candidate that is still to be evaluated, or drawn.

        Nothing of what lies further back is read one by one, but for the keys.

        Args:
            store: where the run is.
            run_id: the run.
            filters: the cheap filters, which are to recall its candidates.
            remember: has the filters know a candidate of which too little was recorded for that.
        """
        recalled = True
        for known in store.candidate_keys(run_id):
            recalled &= filters.recall(known)
            self.drawn += 1
        if not recalled:  # a run of an earlier version
            for candidate in store.candidates(run_id):
                if candidate.start is None:
                    remember(candidate)
        summary = store.summary(run_id)
        self.core_seconds = sum(summary.training.values()) + sum(f.seconds for f in summary.filters.values())
        first = min(store.unevaluated(run_id), default=self.drawn)
        self.applied = max(0, first - self._lookahead + 1)
        for pair in store.newest_scored(run_id, self.applied, self._window):
            self.population.add(*pair)
        for name in self.hurdles.names:
            for value in store.filter_values(run_id, name, self.applied, self.hurdles.window):
                self.hurdles.note(name, value)
        self.candidates = {c.index: c for c in store.candidates(run_id, self.applied)}
        self.evaluations = {e.index: e for e in store.evaluations(run_id, self.applied)}

    def draw(self, candidate: Candidate) -> None:
        """One more candidate."""
        self.candidates[candidate.index] = candidate
        self.drawn += 1

    def add(self, evaluation: Evaluation) -> None:
        """A result came in."""
        self.evaluations[evaluation.index] = evaluation
        self.core_seconds += evaluation.core_seconds

    def has_results_until(self, last: int) -> bool:
        """Whether the results of all candidates up to `last` are in."""
        return all(i in self.evaluations for i in range(self.applied, last + 1))

    def apply_until(self, last: int) -> None:
        """Applies results to the population and the hurdles, in order, up to candidate `last`."""
        while self.applied <= last:
            candidate, evaluation = self.candidates.pop(self.applied), self.evaluations.pop(self.applied)
            self.hurdles.add(evaluation)
            if evaluation.status is Status.SCORED:
                self.population.add(candidate, evaluation)
            self.applied += 1
