"""The search loop: propose, filter, evaluate, record, select.

Asynchronous, and yet the same whatever the number of workers: candidate i is drawn when the results of
all candidates up to i − lookahead are in, and is shown just those, in order of index. Everything the loop
knows can be rebuilt from the store, so a run that was interrupted or killed continues where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from evonas.candidate import FAILED_ATTEMPTS, Candidate, Evaluation, Status
from evonas.collector import rare_collections
from evonas.executor import Executor, Task, published_task
from evonas.hurdles import Hurdles
from evonas.patience import patiently
from evonas.propose import Proposer, SpaceExhausted
from evonas.recall import RecallingFilters
from evonas.select import Population
from evonas.store import RunInfo, RunStatus, Store
from evonas.timekeeping import DATABASE, LOADING, PROPOSING, SHOWING, WAITING, Timekeeper

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.5
"""How long the loop waits for results before it looks at the clock again."""
BATCH_SECONDS = 0.05
"""How long candidates are drawn before they are recorded, in one transaction, and sent out.

A commit waits for the disk, some milliseconds, which a thousand candidates should share; and no worker should
wait for candidates that are drawn for others."""


class Observer(Protocol):
    """Whoever watches a search: the live display, a log, a test."""

    def drawn(self, candidate: Candidate) -> None:
        """A candidate was drawn and recorded."""

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """A candidate's evaluation was recorded."""

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """A published layer was scored, or failed to be, for comparison."""

    def tick(self, pending: int) -> None:
        """Called at least every `POLL_SECONDS`; `pending` evaluations are out."""


@dataclass
class _State:
    """What the loop knows, all of which the store knows too. Candidates that have been shown are forgotten."""

    drawn: int = 0  # candidates
    shown: int = 0  # candidates below this index have been applied to the population
    candidates: dict[int, Candidate] = field(default_factory=dict)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    core_seconds: float = 0.0


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
        filters: RecallingFilters | None = None,
    ) -> None:
        self.run, self.config = run, run.config
        self.store, self.executor, self.observers = store, executor, observers
        self.proposer = Proposer(self.config)
        self.proposer.filters = self._filters = filters or RecallingFilters(self.config.twins)
        self.population = Population(self.config.population)
        self._state = _State()
        self.hurdles = Hurdles(self.config.protocol, self.config.population)
        self._out: dict[int, Task] = {}  # latest attempt of what is being evaluated, by index
        self._lost_seconds: dict[int, float] = {}
        self._failures: dict[int, tuple[str, ...]] = {}  # reasons of the attempts that failed, by index
        missing = [name for name in references if name not in run.references]
        # Negative indices tell them from candidates.
        self._references = {-number: name for number, name in enumerate(missing, 1)}
        self._exhausted = False
        self._time = Timekeeper(run.times, executor.capacity)
        with self._time.during(LOADING):
            self._load()

    def _load(self) -> None:
        """Brings everything to where it was before the first candidate that is still to be evaluated, or drawn.

        Nothing of what lies further back is read one by one, but for the keys.
        """
        store, run_id, state = self.store, self.run.id, self._state
        recalled = True
        for known in store.known(run_id):
            recalled &= self._filters.recall(known)
            state.drawn += 1
        if not recalled:  # a run of an earlier version
            for candidate in store.candidates(run_id):
                if candidate.start is None:
                    self.proposer.remember(candidate)
        summary = store.summary(run_id)
        state.core_seconds = sum(summary.training.values()) + sum(f.seconds for f in summary.filters.values())
        first = min(store.unevaluated(run_id), default=state.drawn)
        state.shown = max(0, first - self.config.lookahead + 1)
        for pair in store.newest(run_id, state.shown, self.config.population):
            self.population.add(*pair)
        for name in self.hurdles.names:
            for value in store.filter_values(run_id, name, state.shown, self.hurdles.window):
                self.hurdles.note(name, value)
        state.candidates = {c.index: c for c in store.candidates(run_id, state.shown)}
        state.evaluations = {e.index: e for e in store.evaluations(run_id, state.shown)}

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
        for index in sorted(self._state.candidates.keys() - self._state.evaluations.keys()):
            self._show_until(index - self.config.lookahead)
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
                patiently(write)
            else:
                write()  # at the end, which a Ctrl-C may have asked for: nobody should wait

    def _draw(self) -> None:
        """Draws candidates for workers that are free, as far as the lookahead allows, and sends them out."""
        tasks: list[Task] = []
        with self._time.during(PROPOSING):
            until = monotonic() + BATCH_SECONDS
            while self._may_draw(len(tasks)) and (not tasks or monotonic() < until):
                index = self._state.drawn
                self._show_until(index - self.config.lookahead)
                try:
                    candidate = self.proposer.draw(index, self.population)
                except SpaceExhausted:
                    self._exhausted = True
                    break
                self._state.candidates[index] = replace(candidate, start=self._filters.start)
                self._state.drawn += 1
                tasks.append(self._task(index))
        if not tasks:
            return
        drawn = [self._state.candidates[task.index] for task in tasks]
        self._record(candidates=drawn)
        with self._time.during(SHOWING):
            for candidate in drawn:
                for observer in self.observers:
                    observer.drawn(candidate)
        for task in tasks:
            self._submit(task)

    def _may_draw(self, waiting: int = 0) -> bool:
        """Whether a worker is free for another candidate, beside those that wait to be sent, and it may be drawn."""
        state, config = self._state, self.config
        # One more than runs at a time, so that no worker waits for the next draw.
        if len(self._out) + waiting > self.executor.capacity:
            return False
        if self._exhausted or state.drawn >= config.budget:
            return False
        if config.core_minutes is not None and state.core_seconds >= 60 * config.core_minutes:
            return False
        needed = range(state.shown, state.drawn - config.lookahead + 1)
        return all(i in state.evaluations for i in needed)

    def _show_until(self, last: int) -> None:
        """Applies results to the population and the hurdles, in order, up to candidate `last`."""
        state = self._state
        while state.shown <= last:
            candidate, evaluation = state.candidates.pop(state.shown), state.evaluations.pop(state.shown)
            self.hurdles.add(evaluation)
            if evaluation.status is Status.SCORED:
                self.population.add(candidate, evaluation)
            state.shown += 1

    def _task(self, index: int) -> Task:
        """The first attempt at a candidate, once it has been shown what it may see."""
        graph = self._state.candidates[index].graph.canonical.to_json()
        return Task(index, 1, graph, self.config.protocol, floors=self.hurdles.floors())

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
            evaluation = self._with_earlier_attempts(evaluation)
            if failed and task.attempt < self.config.max_attempts:
                self._submit(replace(task, attempt=task.attempt + 1))
                continue
            self._lost_seconds.pop(evaluation.index, None)
            self._failures.pop(evaluation.index, None)
            if evaluation.index < 0:
                self._finish_reference(evaluation)
            else:
                finished.append(replace(evaluation, attempts=task.attempt))
        self._finish(finished)
        with self._time.during(SHOWING):
            for observer in self.observers:
                observer.tick(len(self._out))

    def _with_earlier_attempts(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation, charged with what failed attempts before it have cost, and with why they failed."""
        evaluation = self._with_earlier_reasons(evaluation)
        earlier = self._lost_seconds.pop(evaluation.index, 0.0)
        lost = earlier + evaluation.seconds.get(FAILED_ATTEMPTS, 0.0)
        if not lost:
            return evaluation
        self._lost_seconds[evaluation.index] = lost
        return replace(evaluation, seconds={**evaluation.seconds, FAILED_ATTEMPTS: lost})

    def _with_earlier_reasons(self, evaluation: Evaluation) -> Evaluation:
        earlier = self._failures.pop(evaluation.index, ())
        if evaluation.status is Status.FAILED:
            self._failures[evaluation.index] = (*earlier, evaluation.reason)
        # One that fails in the same way again and again says so once.
        told = [f"attempt {n} failed: {why}" for n, why in enumerate(earlier, 1) if why != evaluation.reason]
        return replace(evaluation, reason="; ".join(filter(None, [evaluation.reason, *told])))

    def _finish_reference(self, evaluation: Evaluation) -> None:
        name = self._references[evaluation.index]
        if evaluation.scores:
            with self._time.during(DATABASE):
                patiently(lambda: self.store.record_reference(self.run.id, name, evaluation.scores))
        with self._time.during(SHOWING):
            for observer in self.observers:
                observer.referenced(name, evaluation)

    def _finish(self, evaluations: Sequence[Evaluation]) -> None:
        if not evaluations:
            return
        self._record(evaluations=evaluations)
        for evaluation in evaluations:
            self._state.evaluations[evaluation.index] = evaluation
            self._state.core_seconds += evaluation.core_seconds
        with self._time.during(SHOWING):
            for evaluation in evaluations:
                for observer in self.observers:
                    observer.evaluated(self._state.candidates[evaluation.index], evaluation)
