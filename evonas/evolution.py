"""The search loop: propose, filter, evaluate, record, select.

Asynchronous, and yet the same whatever the number of workers: candidate i is drawn when the results of
all candidates up to i − lookahead are in, and is shown just those, in order of index. Everything the loop
knows can be rebuilt from the store, so a run that was interrupted or killed continues where it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from evonas.candidate import FAILED_ATTEMPTS, Candidate, Evaluation, Status
from evonas.executor import Executor, Task, published_task
from evonas.hurdles import Hurdles
from evonas.patience import patiently
from evonas.propose import Proposer, SpaceExhausted
from evonas.select import Population
from evonas.store import RunInfo, RunStatus, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

POLL_SECONDS = 0.5
"""How long the loop waits for results before it looks at the clock again."""


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
    """What the loop knows, all of which the store knows too."""

    candidates: list[Candidate] = field(default_factory=list)
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    shown: int = 0  # candidates below this index have been applied to the population
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
    """

    def __init__(
        self,
        run: RunInfo,
        store: Store,
        executor: Executor,
        observers: Sequence[Observer] = (),
        references: Sequence[str] = (),
    ) -> None:
        self.run, self.config = run, run.config
        self.store, self.executor, self.observers = store, executor, observers
        self.proposer = Proposer(self.config)
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
        self._started = monotonic()
        self._load()

    def _load(self) -> None:
        state = self._state
        for candidate in self.store.candidates(self.run.id):
            self.proposer.remember(candidate)
            state.candidates.append(candidate)
        for evaluation in self.store.evaluations(self.run.id):
            state.evaluations[evaluation.index] = evaluation
            state.core_seconds += evaluation.core_seconds

    def execute(self) -> RunStatus:
        """Runs to the end of the budget, or until interrupted by Ctrl-C; returns the status recorded.

        An interrupt stops what is in flight, whose candidates are evaluated anew on resume.
        """
        status = RunStatus.INTERRUPTED
        try:
            for index, name in self._references.items():
                self._submit(published_task(name, index, 1, self.config.protocol))
            for index in range(len(self._state.candidates)):
                if index not in self._state.evaluations:
                    self._show_until(index - self.config.lookahead)
                    self._submit(self._task(index))
            while True:
                self._draw()
                if not self._out:
                    break
                self._collect()
            status = RunStatus.FINISHED
        except KeyboardInterrupt:
            pass
        finally:
            self.store.record(self.run.id, status=status, elapsed=self._elapsed())
        return status

    def _record(self, **what: Any) -> None:
        patiently(lambda: self.store.record(self.run.id, elapsed=self._elapsed(), **what))

    def _elapsed(self) -> float:
        return self.run.elapsed + monotonic() - self._started

    def _draw(self) -> None:
        """Draws and submits as many candidates as workers can take and the lookahead allows."""
        # One more than runs at a time, so that no worker waits for the next draw.
        while len(self._out) <= self.executor.capacity and self._may_draw():
            index = len(self._state.candidates)
            self._show_until(index - self.config.lookahead)
            try:
                candidate = self.proposer.draw(index, self.population)
            except SpaceExhausted:
                self._exhausted = True
                return
            self._record(candidates=[candidate])
            self._state.candidates.append(candidate)
            for observer in self.observers:
                observer.drawn(candidate)
            self._submit(self._task(index))

    def _may_draw(self) -> bool:
        state, config = self._state, self.config
        index = len(state.candidates)
        if self._exhausted or index >= config.budget:
            return False
        if config.core_minutes is not None and state.core_seconds >= 60 * config.core_minutes:
            return False
        needed = range(state.shown, index - config.lookahead + 1)
        return all(i in state.evaluations for i in needed)

    def _show_until(self, last: int) -> None:
        """Applies results to the population and the hurdles, in order, up to candidate `last`."""
        state = self._state
        while state.shown <= last:
            evaluation = state.evaluations[state.shown]
            self.hurdles.add(evaluation)
            if evaluation.status is Status.SCORED:
                self.population.add(state.candidates[state.shown], evaluation)
            state.shown += 1

    def _task(self, index: int) -> Task:
        """The first attempt at a candidate, once it has been shown what it may see."""
        graph = self._state.candidates[index].graph.canonical.to_json()
        return Task(index, 1, graph, self.config.protocol, floors=self.hurdles.floors())

    def _submit(self, task: Task) -> None:
        self._out[task.index] = task
        self.executor.submit(task)

    def _collect(self) -> None:
        for evaluation in self.executor.poll(POLL_SECONDS):
            task = self._out.get(evaluation.index)
            failed = evaluation.status is Status.FAILED
            if task is None or (failed and evaluation.attempts < task.attempt):
                continue  # it came twice: the candidate is done with, or has another attempt out
            del self._out[evaluation.index]
            evaluation = self._with_earlier_attempts(evaluation)
            if failed and task.attempt < self.config.max_attempts:
                self._submit(replace(task, attempt=task.attempt + 1))
                continue
            self._lost_seconds.pop(evaluation.index, None)
            self._failures.pop(evaluation.index, None)
            if evaluation.index < 0:
                self._finish_reference(evaluation)
            else:
                self._finish(replace(evaluation, attempts=task.attempt))
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
            patiently(lambda: self.store.record_reference(self.run.id, name, evaluation.scores))
        for observer in self.observers:
            observer.referenced(name, evaluation)

    def _finish(self, evaluation: Evaluation) -> None:
        self._record(evaluations=[evaluation])
        self._state.evaluations[evaluation.index] = evaluation
        self._state.core_seconds += evaluation.core_seconds
        for observer in self.observers:
            observer.evaluated(self._state.candidates[evaluation.index], evaluation)
