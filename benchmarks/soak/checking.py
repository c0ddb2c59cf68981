"""The check that a run with faults equals the run that it would have been without them.

The run is drawn again from its own evaluations, in another process and another store: each candidate must equal the
recorded one. A sample of the candidates is evaluated again, with the original tasks: each evaluation must equal the
recorded one to the last bit.
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
    """An executor that returns the evaluations recorded in another store."""

    def __init__(self, store: Store, run_id: int) -> None:
        self._evaluations = {evaluation.index: evaluation for evaluation in store.evaluations(run_id)}
        self._queue: list[Task] = []
        self.tasks: dict[int, Task] = {}

    @property
    def capacity(self) -> int:
        """The number of workers, which is two."""
        return 2

    def submit(self, task: Task) -> None:
        """Queue the task, and remember it."""
        self.tasks.setdefault(task.index, task)
        self._queue.append(task)

    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Return the recorded evaluations of the queued tasks."""
        done, self._queue = self._queue, []
        return [replace(self._evaluations[task.index], attempts=task.attempt) for task in done]

    def close(self) -> None:
        """Do nothing, because there are no processes to stop."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of the check; for a correct run, the lists are empty.

    Attributes:
        candidates: number of candidates drawn.
        evaluations: number of evaluations by status.
        lost: indices between the first and the last that no candidate has.
        doubled: indices of candidates that repeat an earlier one.
        stuck: indices of candidates without an evaluation.
        failed: reasons of candidates that were given up, by index.
        drawn_otherwise: indices at which drawing again gives a different candidate.
        sampled: number of candidates evaluated again.
        scored_otherwise: indices of those whose new evaluation differs.
        retries: number of attempts after each candidate's first.
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
        """Whether the run is correct."""
        wrong = (self.lost, self.doubled, self.stuck, self.failed, self.drawn_otherwise, self.scored_otherwise)
        return not any(wrong)


def check(store: Store, run_id: int, sample: int) -> Checked:
    """Check a run.

    Args:
        store: the store of the run, which is not changed.
        run_id: the number of the run.
        sample: number of candidates to evaluate again, half of them scored if there are enough.
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
    """Return the parts of an evaluation that must be reproducible: all but times, attempts and reasons of failures."""
    outcomes = tuple(replace(outcome, seconds=0.0) for outcome in evaluation.filters)
    return evaluation.status, dict(evaluation.scores), dict(evaluation.measures), outcomes
