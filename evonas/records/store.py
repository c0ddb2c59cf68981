"""The contract of a store of runs.

One coordinator writes to a run; any number of readers may look at the same time. Every implementation
passes `tests/test_store_contract.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from evonas.errors import UsageError
from evonas.records.coordinator_claim import Coordinator
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.settings.candidate import Candidate, Evaluation, Known
from evonas.settings.run_config import RunConfig

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness


class Store(ABC):
    """Keeps runs, their candidates and evaluations.

    What a method has returned from is durable. `record` is one transaction: a reader, or a coordinator
    that comes back after a kill, sees all of a call or nothing. Recording a candidate or an evaluation
    whose index the run already has changes nothing, so that a result that arrives twice counts once.

    Methods that take a run raise `UsageError` when the store has no such run, and `StorageError` when
    the storage cannot be read or written.
    """

    @abstractmethod
    def create_run(self, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
        """A new run with status `RUNNING` and the next free id."""

    @abstractmethod
    def run_ids(self) -> Sequence[int]:
        """The ids of all runs, oldest first; also of those whose configuration this version cannot read."""

    def runs(self) -> Sequence[RunInfo]:
        """All runs, oldest first."""
        return [self.run(run_id) for run_id in self.run_ids()]

    @abstractmethod
    def run(self, run_id: int) -> RunInfo:
        """One run."""

    @abstractmethod
    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        """Make `coordinator` the one that works on the run; a claim that it has already stays.

        From then on, `record` through this store is refused with `StorageError` once the run is another's.

        Raises:
            UsageError: when another has the run and is still there; the message names it.
        """

    @abstractmethod
    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        """Note that the run's coordinator was heard of; `StorageError` when the run is another's by now."""

    @abstractmethod
    def release(self, run_id: int, coordinator: Coordinator) -> None:
        """Give a claim up; one that another has by now stays as it is."""

    @abstractmethod
    def coordinator(self, run_id: int) -> Coordinator | None:
        """Who has claimed the run, None when nobody has. A killed one stays until another takes its place."""

    @abstractmethod
    def record(
        self,
        run_id: int,
        *,
        candidates: Sequence[Candidate] = (),
        evaluations: Sequence[Evaluation] = (),
        status: RunStatus | None = None,
        elapsed: float | None = None,
        times: Mapping[str, float] | None = None,
    ) -> None:
        """Append to a run, and set its status, elapsed seconds and times where given, in one transaction.

        An evaluation's candidate must be recorded, at the latest in the same call; where it is not, the
        call is refused whole, with `UsageError`.
        """

    @abstractmethod
    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        """Keep the scores of a published layer under the run's protocol; replaces earlier ones."""

    @abstractmethod
    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        """Keep a training that followed the search.

        Where the store has one with the same `key`, that stays, unless it failed. A candidate must be
        recorded before its trainings are; where it is not, the call is refused with `UsageError`.
        """

    @abstractmethod
    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        """The trainings that followed the search: candidates' by index, then published layers' by name.

        Those of one layer come by stage, in the order of `RetrainingStage`, then by anchor, steps, share and seed.
        """

    @abstractmethod
    def candidates(self, run_id: int, since: int = 0) -> Iterator[Candidate]:
        """The run's candidates from index `since` on, by index."""

    @abstractmethod
    def known(self, run_id: int) -> Iterator[Known]:
        """What later proposals are compared with of each of the run's candidates, by index."""

    @abstractmethod
    def unevaluated(self, run_id: int) -> Sequence[int]:
        """The indices of candidates that have no evaluation, in order."""

    @abstractmethod
    def newest(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """The last `limit` scored candidates below index `before`, by index."""

    @abstractmethod
    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        """The last `limit` values that a filter has measured of candidates below index `before`, by index.

        Those that are not a number are left out.
        """

    @abstractmethod
    def candidate(self, run_id: int, index: int) -> Candidate:
        """One candidate; `UsageError` when the run has no such index."""

    @abstractmethod
    def evaluations(self, run_id: int, since: int = 0) -> Iterator[Evaluation]:
        """The run's evaluations from index `since` on, by index of the candidate."""

    @abstractmethod
    def evaluation(self, run_id: int, index: int) -> Evaluation | None:
        """One candidate's evaluation, None while there is none."""

    @abstractmethod
    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        """Candidates with their evaluations, in the order of `indices`; each has to have one."""

    @abstractmethod
    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """The scored candidates with the highest means, best first; of equals, the earlier first.

        A mean that is not a number comes last.
        """

    @abstractmethod
    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        """What scored candidates are compared by: their indices, in order, and a row each.

        Args:
            run_id: the run.
            names: its objectives.
        """

    @abstractmethod
    def summary(self, run_id: int) -> RunSummary:
        """The run in totals, without reading its candidates one by one."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the store holds; calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def no_such_run(run_id: int, known: Sequence[int]) -> UsageError:
    """The error for a run that a store does not have."""
    have = f"runs here: {', '.join(map(str, known))}" if known else "there are no runs here yet"
    return UsageError(f"there is no run {run_id}; {have}")


def no_such_candidate(run_id: int, index: int, count: int) -> UsageError:
    """The error for a candidate that a run does not have."""
    return UsageError(f"run {run_id} has no candidate {index}; it has {count} so far, from 0")


def by_frequency(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts, the greatest first; equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def in_order(retrainings: Iterable[Retraining]) -> list[Retraining]:
    """Trainings in the order of `Store.retrainings`."""
    stages = list(RetrainingStage)

    def place(one: Retraining) -> tuple[object, ...]:
        published = isinstance(one.layer, str)
        index, name = (0, one.layer) if published else (one.layer, "")
        return published, index, name, stages.index(one.stage), one.anchor, one.steps, one.held_out, one.seed

    return sorted(retrainings, key=place)
