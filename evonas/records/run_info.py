"""The values that describe a run: its status, configuration and times, and its totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from evonas.settings.candidate import Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.run_config import RunConfig


class RunStatus(Enum):
    """The status of a run. A run that was killed is still `RUNNING`, and can be resumed."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run without its candidates.

    Attributes:
        id: its number within its store: 1, 2, 3, …
        config: the configuration of the run.
        status: running, interrupted or finished.
        created: the time of creation, in UTC.
        environment: versions and hardware at creation, by name.
        references: scores of published layers under the run's protocol, by layer and anchor.
        elapsed: seconds of wall time that coordinators have spent on the run.
        times: seconds of wall time of the coordinator and the workers, by the activities of
            `evonas.records.timekeeping`.
        checkpoints: what published layers have at the run's filters, by layer; layers by name, filters in their order.
    """

    id: int
    config: RunConfig
    status: RunStatus
    created: datetime
    environment: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    elapsed: float = 0.0
    times: Mapping[str, float] = field(default_factory=dict)
    checkpoints: Mapping[str, tuple[CheckpointValue, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterSummary:
    """The totals of one filter over the evaluated candidates of a run.

    Attributes:
        judged: the number of candidates that it judged.
        rejected: the number of candidates that it rejected.
        seconds: core-seconds that it took.
        reasons: the number of rejections by reason, most frequent first.
    """

    judged: int = 0
    rejected: int = 0
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The totals of a run.

    Attributes:
        candidates: the number of candidates drawn.
        statuses: the number of evaluations by status, with every status as a key.
        filters: the totals of the workers' filters, in the order in which candidates reach them.
        discarded: the number of proposals that the cheap filters rejected, by filter.
        drawing: core-seconds spent on drawing candidates, by stage (`Candidate.seconds`).
        training: core-seconds of evaluations, by activity (`Evaluation.seconds`).
        retries: the number of attempts beyond each candidate's first.
        last_activity: when the run was last written to, in UTC.
    """

    candidates: int
    statuses: Mapping[Status, int]
    filters: Mapping[str, FilterSummary]
    discarded: Mapping[str, int]
    drawing: Mapping[str, float]
    training: Mapping[str, float]
    retries: int
    last_activity: datetime

    @property
    def evaluations(self) -> int:
        """The number of evaluated candidates, whatever their status."""
        return sum(self.statuses.values())

    @property
    def core_seconds(self) -> float:
        """The core-seconds that workers have spent on the search."""
        return sum(self.training.values()) + sum(found.seconds for found in self.filters.values())
