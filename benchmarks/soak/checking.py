"""Whether a run that was disturbed is the one that would have been without.

It is drawn again from its own evaluations, in another process and another store: each candidate has to be the one
recorded. And a sample of its candidates is evaluated again, with what each was told then: each evaluation has to be
the one recorded, to the last bit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from evonas.evolution.executor import Executor, Task
from evonas.evolution.loop import Search
from evonas.records.environment import environment
from evonas.records.memory_store import MemoryStore
from evonas.records.store import Store
from evonas.settings.candidate import Candidate, Evaluation, Status


class Recorded(Executor):
    """Answers with what another store has recorded."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._evaluations = {evaluation.index: evaluation for evaluation in store.evaluations(run_id)}
        self._queue: list[Task] = []
        self.tasks: dict[int, Task] = {}

    @property
    def capacity(self) -> int:
        """As many as two workers."""
        return 2

    def submit(self, task: Task) -> None:
        """Keeps the task."""
        self.tasks.setdefault(task.index, task)
        self._queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """The recorded evaluations of what was submitted."""
        done, self._queue = self._queue, []
        return [replace(self._evaluations[task.index], attempts=task.attempt) for task in done]

    def close(self) -> None:
        """Nothing to stop."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found; an undisturbed run has empty lists.

    Attributes:
        candidates: how many were drawn.
        evaluations: how many have an evaluation, by how it ended.
        lost: numbers between the first and the last that no candidate has.
        doubled: numbers of candidates that are an earlier one again.
        stuck: numbers of candidates without an evaluation.
        failed: reasons of those that were given up.
        drawn_otherwise: numbers at which drawing again gives another candidate.
        sampled: how many were evaluated again.
        scored_otherwise: numbers of those whose evaluation is another.
        retries: attempts beyond each first.
    """

    candidates: int
    evaluations: dict[str, int]
    lost: list[int]
    doubled: list[int]
    stuck: list[int]
    failed: dict[int, str]
    drawn_otherwise: list[int]
    sampled: int
    scored_otherwise: list[int]
    retries: int

    @property
    def whole(self) -> bool:
        """Whether the run is as it should be."""
        wrong = (self.lost, self.doubled, self.stuck, self.failed, self.drawn_otherwise, self.scored_otherwise)
        return not any(wrong)


def check(store: Store, run_id: int, sample: int) -> Checked:
    """Compares a run with what it should be.

    Args:
        store: holds the run, which is not changed.
        run_id: its number.
        sample: how many candidates to evaluate again, half of them scored ones where there are as many.
    """
    candidates = list(store.candidates(run_id))
    evaluations = {evaluation.index: evaluation for evaluation in store.evaluations(run_id)}
    summary = store.summary(run_id)
    keys: dict[str, int] = {}
    doubled = [c.index for c in candidates if keys.setdefault(c.functional_key, c.index) != c.index]
    present = {candidate.index for candidate in candidates}
    stuck = sorted(present - evaluations.keys())
    lost = sorted(set(range(max(present, default=-1) + 1)) - present)
    otherwise, tasks = ([], {}) if lost or stuck else _drawn_again(store, run_id, candidates)
    chosen = _chosen(evaluations, tasks, sample)
    return Checked(
        candidates=len(candidates),
        evaluations={status.value: count for status, count in summary.statuses.items()},
        lost=lost,
        doubled=doubled,
        stuck=stuck,
        failed={e.index: e.reason for e in evaluations.values() if e.status is Status.FAILED},
        drawn_otherwise=otherwise,
        sampled=len(chosen),
        scored_otherwise=_scored_otherwise(store, run_id, [tasks[index] for index in chosen], evaluations),
        retries=summary.retries,
    )


def _drawn_again(store: Store, run_id: int, candidates: Sequence[Candidate]) -> tuple[list[int], dict[int, Task]]:
    config = replace(store.run(run_id).config, budget=len(candidates), core_minutes=None)
    again, recorded = MemoryStore(), Recorded(store, run_id)
    run = again.create_run(config, environment())
    Search(run, again, recorded).execute()
    pairs = zip(candidates, again.candidates(run.id), strict=True)
    return [one.index for one, other in pairs if _drawn(one) != _drawn(other)], recorded.tasks


def _drawn(candidate: Candidate) -> Candidate:
    return replace(candidate, seconds={})


def _chosen(evaluations: dict[int, Evaluation], tasks: dict[int, Task], sample: int) -> list[int]:
    rng = random.Random(0)
    scored = [index for index in tasks if evaluations[index].status is Status.SCORED]
    others = [index for index in tasks if evaluations[index].status is Status.REJECTED]
    first = rng.sample(scored, min(len(scored), sample // 2))
    return sorted(first + rng.sample(others, min(len(others), sample - len(first))))


def _scored_otherwise(
    store: Store, run_id: int, tasks: Sequence[Task], evaluations: dict[int, Evaluation]
) -> list[int]:
    from evonas.workers.executors.local_executor import LocalExecutor
    from evonas.workers.trial.evaluate import load_data

    different = []
    with LocalExecutor(load_data(store.run(run_id).config.protocol)) as executor:
        for task in tasks:
            executor.submit(task)
            (again,) = executor.poll(0.0)
            if _found(again) != _found(evaluations[task.index]):
                different.append(task.index)
    return different


def _found(evaluation: Evaluation) -> tuple[Any, ...]:
    """An evaluation without times, attempts, and the reasons of those that failed."""
    outcomes = tuple(replace(outcome, seconds=0.0) for outcome in evaluation.filters)
    return evaluation.status, dict(evaluation.scores), dict(evaluation.measures), outcomes
