"""Executors that train nothing, for tests of the search loop.

As in a real evaluation, the result of a task is a function of its graph; the time and order of arrival are random.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from evonas.evolution.executor import Executor, Task
from evonas.judging.floors import stages
from evonas.language.graph import Graph
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.search_spaces import evonorm
from evonas.settings.candidate import BUILDING, Evaluation, FilterOutcome, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

ANCHORS = ("wide", "deep")  # not in alphabetical order, which a store might return
SETTINGS = {"budget": 40, "seed": 3, "lookahead": 8, "population": 12, "tournament": 0.4, "fresh": 0.3}


def config(**settings: object) -> RunConfig:
    """A small run, in which parents are found early and the window slides within the budget."""
    return RunConfig(evonorm, **{"protocol": EvaluationProtocol(anchors=ANCHORS), **SETTINGS, **settings})  # type: ignore[arg-type]


def outcome(task: Task) -> Evaluation:
    """Judge a graph: of ten, about six are scored, three are rejected, and one fails in every attempt."""
    rung = str(task.rung) if task.rung else ""
    digest = hashlib.blake2b((Graph.from_json(task.graph).key + rung).encode()).digest()
    anchors = task.protocol.anchors
    seconds = {anchor: 0.5 + digest[place] / 256 for place, anchor in enumerate(anchors)}
    seconds[BUILDING] = 0.125 + digest[8] / 1024
    if task.measures != "scores":
        found = tuple(CheckpointValue(stage.name, 0.5, "", 0.1, 640) for stage in stages(task.protocol))
        scored = outcome(replace(task, measures="scores"))
        scored = replace(scored, scores={}, filters=()) if task.measures == "filters" else scored
        return replace(scored, checkpoints=found)
    if not task.filtered or digest[0] >= 102:
        scores = {anchor: digest[4 + place] / 255 for place, anchor in enumerate(anchors)}
        passed = FilterOutcome("quality", True, "", 0.5, 0.25)
        filters = (passed,) if task.filtered else ()
        return Evaluation(
            task.index, Status.SCORED, scores, filters=filters, seconds=seconds, attempts=task.attempt, rung=task.rung
        )
    if digest[0] >= 26:
        rejected = FilterOutcome("quality", False, "low accuracy", 0.1, 0.25)
        return Evaluation(task.index, Status.REJECTED, filters=(rejected,), attempts=task.attempt)
    return Evaluation(task.index, Status.FAILED, reason="out of memory", attempts=task.attempt)


class FakeExecutor(Executor):
    """Completes tasks in random order; some polls return nothing, and some several results."""

    def __init__(self, capacity: int = 1, seed: int = 0, judge: Callable[[Task], Evaluation] = outcome) -> None:
        self._capacity, self._rng, self._judge = capacity, random.Random(seed), judge
        self.queue: list[Task] = []
        self.submitted: list[Task] = []
        self.closed = 0

    @property
    def capacity(self) -> int:
        return self._capacity

    def submit(self, task: Task) -> None:
        self.submitted.append(task)
        self.queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        # The oldest `capacity` tasks run; the rest wait.
        running = self.queue[: self._capacity]
        finished = self._rng.sample(running, self._rng.randint(0, len(running)))
        self.queue = [task for task in self.queue if task not in finished]
        return [self._judge(task) for task in finished]

    def close(self) -> None:
        self.closed += 1


class InterruptedExecutor(FakeExecutor):
    """Raises KeyboardInterrupt instead of a result, once it has returned so many."""

    def __init__(self, after: int, capacity: int, seed: int, judge: Callable[[Task], Evaluation] = outcome) -> None:
        super().__init__(capacity, seed, judge)
        self._left = after

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        if self._left <= 0:
            raise KeyboardInterrupt
        found = super().poll(timeout)
        self._left -= len(found)
        return found


def table(store: Store, run: RunInfo) -> list[tuple[object, ...]]:
    """Return the records of a run without times: for each candidate, how it was drawn and its evaluation."""
    evaluations = {e.index: e for e in store.evaluations(run.id)}
    return [
        (
            *(c.index, c.graph, c.key, c.functional_key, c.origin, dict(c.discarded)),
            None
            if (e := evaluations.get(c.index)) is None
            else (e.status, list(e.scores.items()), e.filters, dict(e.seconds), e.reason, e.attempts),
        )
        for c in store.candidates(run.id)
    ]
