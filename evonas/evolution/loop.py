"""The search loop: propose, filter, evaluate, record, select.

The loop is asynchronous, and its result does not depend on the number of workers: candidate i is drawn as soon as all
candidates up to i − lookahead have been evaluated, from exactly their results, applied in order of index. All state of
the loop can be restored from the store, so a run that was interrupted or killed continues where it was.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from evonas.evolution.executor import Executor, Task
from evonas.evolution.failed_attempts import FailedAttempts
from evonas.evolution.gc_pause import rare_collections
from evonas.evolution.history import History
from evonas.evolution.observer import PromotionObserver
from evonas.evolution.promotions import as_records
from evonas.evolution.propose import Proposer, SpaceExhausted
from evonas.evolution.published_layers import PublishedLayers
from evonas.evolution.tasks_in_flight import TasksInFlight
from evonas.judging.cheap_filters import ResumableFilters
from evonas.judging.start_twins import sketch
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.records.store_retry import retry_while_unavailable
from evonas.records.timekeeping import DATABASE, LOADING, PROPOSING, SHOWING, WAITING, Timekeeper
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evonas.evolution.observer import Observer

POLL_SECONDS = 0.5
"""How long the loop waits for results before it checks the clock again."""
BATCH_SECONDS = 0.05
"""How long candidates are drawn before they are recorded in one transaction and sent to workers.

A commit waits some milliseconds for the disk, which a thousand candidates should share; but no worker should wait while
candidates for others are drawn."""


ALL_FAIL = 20
"""If so many candidates of a new run have failed, the first ones and all of them, something is wrong with all: a user's
file, a device, the deadline. Then the run is interrupted."""


class Search:
    """One session of a run of evolution or random search, from its recorded state to its end.

    Args:
        run: the run to start or continue.
        store: the store that has the run; this search is the run's only writer.
        executor: evaluates the candidates.
        observers: are notified of each step.
        references: names of published layers to score under the run's protocol alongside the search, unless the store
            already has their scores.
        filters: the cheap filters; by default those of the run's configuration.
    """

    def __init__(
        self,
        run: RunInfo,
        store: Store,
        executor: Executor,
        observers: Sequence[Observer] = (),
        references: Sequence[str] = (),
        filters: ResumableFilters | None = None,
    ) -> None:
        self.run, self.config = run, run.config
        self.store, self.executor, self.observers = store, executor, observers
        self._history = History(self.config)
        self.proposer = Proposer(self.config, self._history.promotions.ladder, self._history.prospects)
        self.proposer.filters = self._filters = filters or ResumableFilters(self.config.twins)
        self._in_flight = TasksInFlight(self._submit, self.config.max_attempts, late_success=True)
        self._attempts = FailedAttempts()
        self._exhausted = False
        self._time = Timekeeper(run.times, executor.capacity)
        with self._time.during(LOADING):
            self._history.restore(store, run.id, self._filters, self.proposer.remember)
        # Whether candidates failed, in the order in which they ended; not of a run that somebody has resumed.
        self._failed: list[bool] | None = None if self._history.drawn else []
        self._published = PublishedLayers(run, references, self._history.drawn)

    def execute(self) -> RunStatus:
        """Search to the end of the budget, or until interrupted by Ctrl-C.

        After an interrupt, candidates in flight are evaluated again when the run is resumed.

        Returns:
            The status that was recorded: interrupted also where the first `ALL_FAIL` candidates have failed.
        """
        status = RunStatus.INTERRUPTED
        try:
            with rare_collections():
                self._run_to_end()
            status = RunStatus.INTERRUPTED if self._hopeless() else RunStatus.FINISHED
        except KeyboardInterrupt:
            pass
        finally:
            self._record(status=status)
        return status

    def _run_to_end(self) -> None:
        self._tell_of_published()
        for task in self._published.tasks():
            self._in_flight.add(task)
        for index in sorted(self._history.candidates.keys() - self._history.evaluations.keys()):
            self._history.apply_until(index - self.config.lookahead)
            self._in_flight.add(self._task(index))
        while True:
            self._promote()
            self._draw()
            if not self._in_flight:
                # Nothing is left to draw. The last results may still promote candidates.
                self._history.apply_all()
                self._promote()
                if not self._in_flight:
                    return
            # If there is more to draw, do not wait for results.
            self._collect(0.0 if self._may_draw() else POLL_SECONDS)

    def _record(
        self,
        candidates: Sequence[Candidate] = (),
        evaluations: Sequence[Evaluation] = (),
        status: RunStatus | None = None,
    ) -> None:
        def write() -> None:
            self.store.record(
                self.run.id,
                candidates=candidates,
                evaluations=evaluations,
                status=status,
                elapsed=self.run.elapsed + self._time.elapsed,
                times=self._time.times(),
            )

        with self._time.during(DATABASE):
            if status is None:
                retry_while_unavailable(write)
            else:
                write()  # at the end, perhaps after Ctrl-C, when nobody wants to wait

    def _draw(self) -> None:
        """Draw candidates for free workers, as far as the lookahead allows, and submit them."""
        tasks: list[Task] = []
        with self._time.during(PROPOSING):
            until = monotonic() + BATCH_SECONDS
            while self._may_draw(len(tasks)) and (not tasks or monotonic() < until):
                index = self._history.drawn
                self._history.apply_until(index - self.config.lookahead)
                self._promote()
                try:
                    candidate = self.proposer.draw(index, self._history.population)
                except SpaceExhausted:
                    self._exhausted = True
                    break
                self._history.add_candidate(replace(candidate, start=self._start(candidate)))
                tasks.append(self._task(index))
        if not tasks:
            return
        drawn = [self._history.candidates[task.index] for task in tasks]
        self._record(candidates=drawn)
        with self._time.during(SHOWING):
            for candidate in drawn:
                for observer in self.observers:
                    observer.drawn(candidate)
        for task in tasks:
            self._in_flight.add(task)

    def _start(self, candidate: Candidate) -> bytes | None:
        """The sketch of how a candidate starts, if anything will be compared with it."""
        if self.config.choices > 1 and self._filters.start is None:  # without twins
            return sketch(candidate.graph.canonical)
        return self._filters.start

    def _promote(self) -> None:
        """Submit the longer trainings that candidates have earned. They do not wait for a free worker."""
        for promotion in self._history.promotions.take():
            self._in_flight.add(self._history.promotions.task(promotion))

    def _may_draw(self, unsent: int = 0) -> bool:
        """Whether another candidate may be drawn, and a worker is free for it after `unsent` drawn ones."""
        history, config = self._history, self.config
        # One more than run at the same time, so that no worker waits for the next draw.
        if len(self._in_flight) + unsent > self.executor.capacity:
            return False
        if self._exhausted or history.drawn >= config.budget or not self._published.ready or self._hopeless():
            return False
        if config.core_minutes is not None and history.core_seconds >= 60 * config.core_minutes:
            return False
        return history.has_results_until(history.drawn - config.lookahead)

    def _hopeless(self) -> bool:
        """Whether the first candidates of a new run have all failed."""
        return self._failed is not None and len(self._failed) >= ALL_FAIL and all(self._failed)

    def _task(self, index: int) -> Task:
        """The first attempt at a candidate, with the floors that follow from the results applied so far."""
        graph = self._history.candidates[index].graph.canonical.to_json()
        floors = {**self._published.floors, **self._history.hurdles.floors()}
        return Task(index, 1, graph, self.config.protocol, floors=floors)

    def _submit(self, task: Task) -> None:
        self._time.sent(task.key)
        self.executor.submit(task)

    def _collect(self, timeout: float) -> None:
        """Process finished evaluations; waits up to `timeout` seconds for the first."""
        with self._time.during(WAITING):
            arrived = self.executor.poll(timeout)
        finished: list[Evaluation] = []
        for evaluation in arrived:
            task = self._in_flight.take(evaluation)
            if task is None:
                continue
            self._time.came_back(evaluation.key, evaluation.wall)
            evaluation = self._attempts.charged(evaluation)
            if self._in_flight.retry(task, evaluation):
                continue
            self._attempts.forget(evaluation.key)
            if evaluation.index < 0:
                self._finish_reference(evaluation)
            elif evaluation.rung:
                self._finish_promotion(evaluation)
            else:
                finished.append(replace(evaluation, attempts=task.attempt))
        self._finish(finished)
        with self._time.during(SHOWING):
            for observer in self.observers:
                observer.tick(len(self._in_flight))

    def _finish_reference(self, evaluation: Evaluation) -> None:
        name, run_id, values = self._published.names[evaluation.index], self.run.id, evaluation.checkpoints
        with self._time.during(DATABASE):
            if values:
                retry_while_unavailable(lambda: self.store.record_checkpoint_values(run_id, name, values))
            if evaluation.scores:
                retry_while_unavailable(lambda: self.store.record_reference(run_id, name, evaluation.scores))
        with self._time.during(SHOWING):
            for observer in self.observers:
                if evaluation.scores or evaluation.status is Status.FAILED:
                    observer.referenced(name, evaluation)
        self._published.add(name, evaluation)
        self._tell_of_published()

    def _tell_of_published(self) -> None:
        """Tell the observers which published layers the filters would turn away, each once."""
        with self._time.during(SHOWING):
            for layer in self._published.news():
                for observer in self.observers:
                    observer.turned_away(layer)

    def _finish_promotion(self, evaluation: Evaluation) -> None:
        with self._time.during(DATABASE):
            for record in as_records(self.config, evaluation):
                retry_while_unavailable(partial(self.store.record_retraining, self.run.id, record))
        self._history.add_evaluation(evaluation)
        with self._time.during(SHOWING):
            for observer in self.observers:
                if isinstance(observer, PromotionObserver):
                    observer.promoted(evaluation)

    def _finish(self, evaluations: Sequence[Evaluation]) -> None:
        if not evaluations:
            return
        self._record(evaluations=evaluations)
        for evaluation in evaluations:
            self._history.add_evaluation(evaluation)
            if self._failed is not None and len(self._failed) < ALL_FAIL:
                self._failed.append(evaluation.status is Status.FAILED)
        with self._time.during(SHOWING):
            for evaluation in evaluations:
                for observer in self.observers:
                    observer.evaluated(self._history.candidates[evaluation.index], evaluation)
