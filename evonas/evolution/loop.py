"""The search loop: propose, filter, evaluate, record, select.

Asynchronous, and yet the same whatever the number of workers: candidate i is drawn when the results of
all candidates up to i − lookahead are in, and is shown just those, in order of index. Everything the loop
knows can be rebuilt from the store, so a run that was interrupted or killed continues where it was.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from evonas.evolution.executor import Executor, Task, published_task
from evonas.evolution.failed_attempts import Attempts
from evonas.evolution.gc_pause import rare_collections
from evonas.evolution.history import History
from evonas.evolution.propose import Proposer, SpaceExhausted
from evonas.judging.cheap_filters import ResumableFilters
from evonas.records.run_info import RunInfo, RunStatus
from evonas.records.store import Store
from evonas.records.store_retry import retry_while_unavailable
from evonas.records.timekeeping import DATABASE, LOADING, PROPOSING, SHOWING, WAITING, Timekeeper
from evonas.settings.candidate import Candidate, Evaluation, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evonas.evolution.observer import Observer

POLL_SECONDS = 0.5
"""How long the loop waits for results before it looks at the clock again."""
BATCH_SECONDS = 0.05
"""How long candidates are drawn before they are recorded, in one transaction, and sent out.

A commit waits for the disk, some milliseconds, which a thousand candidates should share; and no worker should
wait for candidates that are drawn for others."""


class Search:
    """One run of evolution or random search, from its store's state to its end.

    Args:
        run: the run to continue; a new one has no candidates yet.
        store: where it is recorded; this search is the run's only writer.
        executor: what evaluates candidates.
        observers: told of each step.
        references: published layers to score under the run's protocol, beside the search, where the
            store does not have them yet.
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
        self.proposer = Proposer(self.config)
        self.proposer.filters = self._filters = filters or ResumableFilters(self.config.twins)
        self._history = History(self.config)
        self._out: dict[int, Task] = {}  # latest attempt of what is being evaluated, by index
        self._attempts = Attempts()
        missing = [name for name in references if name not in run.references]
        # Negative indices tell them from candidates.
        self._references = {-number: name for number, name in enumerate(missing, 1)}
        self._exhausted = False
        self._time = Timekeeper(run.times, executor.capacity)
        with self._time.during(LOADING):
            self._history.load(store, run.id, self._filters, self.proposer.remember)

    def execute(self) -> RunStatus:
        """Runs to the end of the budget, or until interrupted by Ctrl-C; returns the status recorded.

        An interrupt stops what is in flight, whose candidates are evaluated anew on resume.
        """
        status = RunStatus.INTERRUPTED
        try:
            with rare_collections():
                self._to_the_end()
            status = RunStatus.FINISHED
        except KeyboardInterrupt:
            pass
        finally:
            self._record(status=status)
        return status

    def _to_the_end(self) -> None:
        for index, name in self._references.items():
            self._submit(published_task(name, index, 1, self.config.protocol))
        for index in sorted(self._history.candidates.keys() - self._history.evaluations.keys()):
            self._history.apply_until(index - self.config.lookahead)
            self._submit(self._task(index))
        while True:
            self._draw()
            if not self._out:
                return
            # Where there is more to draw, results are only looked in on.
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
                write()  # at the end, which a Ctrl-C may have asked for: nobody should wait

    def _draw(self) -> None:
        """Draws candidates for workers that are free, as far as the lookahead allows, and sends them out."""
        tasks: list[Task] = []
        with self._time.during(PROPOSING):
            until = monotonic() + BATCH_SECONDS
            while self._may_draw(len(tasks)) and (not tasks or monotonic() < until):
                index = self._history.drawn
                self._history.apply_until(index - self.config.lookahead)
                try:
                    candidate = self.proposer.draw(index, self._history.population)
                except SpaceExhausted:
                    self._exhausted = True
                    break
                self._history.draw(replace(candidate, start=self._filters.start))
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
            self._submit(task)

    def _may_draw(self, waiting: int = 0) -> bool:
        """Whether a worker is free for another candidate, beside those that wait to be sent, and it may be drawn."""
        history, config = self._history, self.config
        # One more than runs at a time, so that no worker waits for the next draw.
        if len(self._out) + waiting > self.executor.capacity:
            return False
        if self._exhausted or history.drawn >= config.budget:
            return False
        if config.core_minutes is not None and history.core_seconds >= 60 * config.core_minutes:
            return False
        return history.has_results_until(history.drawn - config.lookahead)

    def _task(self, index: int) -> Task:
        """The first attempt at a candidate, once it has been shown what it may see."""
        graph = self._history.candidates[index].graph.canonical.to_json()
        return Task(index, 1, graph, self.config.protocol, floors=self._history.hurdles.floors())

    def _submit(self, task: Task) -> None:
        self._out[task.index] = task
        self._time.sent(task.index)
        self.executor.submit(task)

    def _collect(self, timeout: float) -> None:
        """Takes in what has been evaluated; waits for the first result for as long as `timeout` seconds."""
        with self._time.during(WAITING):
            arrived = self.executor.poll(timeout)
        finished: list[Evaluation] = []
        for evaluation in arrived:
            task = self._out.get(evaluation.index)
            failed = evaluation.status is Status.FAILED
            if task is None or (failed and evaluation.attempts < task.attempt):
                continue  # it came twice: the candidate is done with, or has another attempt out
            del self._out[evaluation.index]
            self._time.came_back(evaluation.index, evaluation.wall)
            evaluation = self._attempts.charged(evaluation)
            if failed and task.attempt < self.config.max_attempts:
                self._submit(replace(task, attempt=task.attempt + 1))
                continue
            self._attempts.forget(evaluation.index)
            if evaluation.index < 0:
                self._finish_reference(evaluation)
            else:
                finished.append(replace(evaluation, attempts=task.attempt))
        self._finish(finished)
        with self._time.during(SHOWING):
            for observer in self.observers:
                observer.tick(len(self._out))

    def _finish_reference(self, evaluation: Evaluation) -> None:
        name = self._references[evaluation.index]
        if evaluation.scores:
            with self._time.during(DATABASE):
                retry_while_unavailable(lambda: self.store.record_reference(self.run.id, name, evaluation.scores))
        with self._time.during(SHOWING):
            for observer in self.observers:
                observer.referenced(name, evaluation)

    def _finish(self, evaluations: Sequence[Evaluation]) -> None:
        if not evaluations:
            return
        self._record(evaluations=evaluations)
        for evaluation in evaluations:
            self._history.add(evaluation)
        with self._time.during(SHOWING):
            for evaluation in evaluations:
                for observer in self.observers:
                    observer.evaluated(self._history.candidates[evaluation.index], evaluation)
