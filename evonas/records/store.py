"""The contract of a store of runs.

One coordinator writes to a run; any number of readers may read at the same time. Every implementation passes
`tests/test_store_contract.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from evonas.errors import UsageError
from evonas.records.coordinator import Coordinator
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.settings.candidate import Candidate, CandidateKeys, Ending, Evaluation
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.run_config import RunConfig

if TYPE_CHECKING:
    from evonas.settings.objectives import Fitness


class Store(ABC):
    """Keeps runs with their candidates and evaluations.

    When a method returns, what it wrote is durable. `record` is one transaction: a reader, or a coordinator that starts
    again after a kill, sees all of a call or nothing. Recording a candidate or an evaluation whose index the run
    already has changes nothing, so that a result that arrives twice counts once.

    Methods that take a run id raise `UsageError` if the store has no such run, and `StorageError` if the storage cannot
    be read or written.
    """

    @abstractmethod
    def create_run(self, config: RunConfig, environment: Mapping[str, str]) -> RunInfo:
        """Create a run with status `RUNNING` and the next free id.

        Args:
            config: the configuration of the run.
            environment: versions and hardware by name (`evonas.records.environment`).
        """

    @abstractmethod
    def run_ids(self) -> Sequence[int]:
        """The ids of all runs, oldest first, including runs whose configuration this version cannot read."""

    def runs(self) -> Sequence[RunInfo]:
        """All runs, oldest first."""
        return [self.run(run_id) for run_id in self.run_ids()]

    @abstractmethod
    def run(self, run_id: int) -> RunInfo:
        """The run with this id."""

    @abstractmethod
    def claim(self, run_id: int, coordinator: Coordinator) -> None:
        """Claim a run for a coordinator. Claiming it again does nothing.

        From then on, `record` through this store raises `StorageError` once another coordinator has taken the run over.

        Raises:
            UsageError: another coordinator has claimed the run and is not gone; the message names it.
        """

    @abstractmethod
    def renew(self, run_id: int, coordinator: Coordinator) -> None:
        """Renew a claim.

        Raises:
            StorageError: another coordinator has taken the run over.
        """

    @abstractmethod
    def release(self, run_id: int, coordinator: Coordinator) -> None:
        """Release a claim. The claim of another coordinator stays as it is."""

    @abstractmethod
    def coordinator(self, run_id: int) -> Coordinator | None:
        """The coordinator that has claimed the run, or None. One that was killed stays until another replaces it."""

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
        """Append to a run, and set its status, elapsed seconds and times if given, in one transaction.

        Args:
            run_id: the run.
            candidates: new candidates.
            evaluations: new evaluations.
            status: the new status; None keeps the old one.
            elapsed: seconds of wall time over all sessions; None keeps the old value.
            times: the new `RunInfo.times`; None keeps the old ones.

        Raises:
            UsageError: an evaluation's candidate was recorded neither before nor in this call; nothing is written.
            StorageError: another coordinator has taken over the run that was claimed through this store.
        """

    @abstractmethod
    def record_reference(self, run_id: int, layer: str, scores: Mapping[str, float]) -> None:
        """Record the scores of a published layer under the run's protocol, by anchor; they replace earlier ones."""

    @abstractmethod
    def record_checkpoint_values(self, run_id: int, layer: str, values: Sequence[CheckpointValue]) -> None:
        """Record what a published layer has at the filters of the run, in their order; this replaces earlier values."""

    @abstractmethod
    def record_retraining(self, run_id: int, retraining: Retraining) -> None:
        """Record a training that followed the search, or a longer one within it.

        An earlier training with the same `key` is replaced only if it failed.

        Raises:
            UsageError: the candidate has not been recorded.
        """

    @abstractmethod
    def retrainings(self, run_id: int) -> Sequence[Retraining]:
        """The trainings that followed the search: those of candidates by index, then those of published layers by name.

        Trainings of one layer are sorted by stage, in the order of `RetrainingStage`, then by anchor, steps, share held
        out and seed.
        """

    @abstractmethod
    def rung_trainings(self, run_id: int) -> Sequence[Retraining]:
        """The longer trainings within the search, of stage `RUNG`, in the order of `retrainings`.

        They are recorded like those that follow the search.
        """

    @abstractmethod
    def candidates(self, run_id: int, since: int = 0) -> Iterator[Candidate]:
        """The run's candidates from index `since` on, in order of index."""

    @abstractmethod
    def candidate_keys(self, run_id: int) -> Iterator[CandidateKeys]:
        """The keys of all candidates of the run, in order of index."""

    @abstractmethod
    def endings(self, run_id: int, before: int) -> Iterator[Ending]:
        """How the evaluations of the candidates below index `before` ended, in order of index."""

    @abstractmethod
    def unevaluated(self, run_id: int) -> Sequence[int]:
        """The indices of the candidates that have no evaluation, in order."""

    @abstractmethod
    def newest_scored(self, run_id: int, before: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """The last `limit` scored candidates below index `before`, in order of index."""

    @abstractmethod
    def filter_values(self, run_id: int, name: str, before: int, limit: int) -> Sequence[float]:
        """The last `limit` values that a filter measured on candidates below index `before`, in order of index.

        NaN values are left out.
        """

    @abstractmethod
    def candidate(self, run_id: int, index: int) -> Candidate:
        """One candidate.

        Raises:
            UsageError: the run has no such candidate.
        """

    @abstractmethod
    def evaluations(self, run_id: int, since: int = 0) -> Iterator[Evaluation]:
        """The run's evaluations from index `since` on, in order of index."""

    @abstractmethod
    def evaluation(self, run_id: int, index: int) -> Evaluation | None:
        """The evaluation of one candidate, or None if it has none."""

    @abstractmethod
    def pairs(self, run_id: int, indices: Sequence[int]) -> Sequence[tuple[Candidate, Evaluation]]:
        """Candidates with their evaluations, in the order of `indices`; each candidate must have been evaluated."""

    @abstractmethod
    def best(self, run_id: int, limit: int) -> Sequence[tuple[Candidate, Evaluation]]:
        """The `limit` scored candidates with the highest mean scores, best first; of equal ones, the earlier first.

        A mean that is NaN comes last.
        """

    @abstractmethod
    def objectives(self, run_id: int, names: Sequence[str]) -> tuple[Sequence[int], Fitness]:
        """The indices of the scored candidates, in order, and their objectives (`evonas.settings.objectives.fitness`).

        Args:
            run_id: the run.
            names: the objectives of the columns.
        """

    @abstractmethod
    def summary(self, run_id: int) -> RunSummary:
        """The totals of a run, computed without reading its candidates one by one."""

    @abstractmethod
    def close(self) -> None:
        """Release what the store holds. Calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def no_such_run(run_id: int, run_ids: Sequence[int]) -> UsageError:
    """The error for a run that is not among the `run_ids` of a store."""
    have = f"runs here: {', '.join(map(str, run_ids))}" if run_ids else "there are no runs here yet"
    return UsageError(f"there is no run {run_id}; {have}")


def no_such_candidate(run_id: int, index: int, count: int) -> UsageError:
    """The error for a candidate that is not among the `count` candidates of a run."""
    return UsageError(f"run {run_id} has no candidate {index}; it has {count} so far, from 0")


def by_frequency(counts: Mapping[str, int]) -> dict[str, int]:
    """The same counts, sorted from the greatest; equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def sorted_retrainings(retrainings: Iterable[Retraining]) -> list[Retraining]:
    """Trainings in the order that `Store.retrainings` promises."""
    stages = list(RetrainingStage)

    def place(one: Retraining) -> tuple[object, ...]:
        published = isinstance(one.layer, str)
        index, name = (0, one.layer) if published else (one.layer, "")
        return published, index, name, stages.index(one.stage), one.anchor, one.steps, one.held_out, one.seed

    return sorted(retrainings, key=place)
