"""What a store says of a run: its row, and its totals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from evonas.settings.candidate import Status
from evonas.settings.run_config import RunConfig


class RunStatus(Enum):
    """Whether a run has more to do. One that was killed still says `RUNNING`, and can be resumed."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run's row.

    Attributes:
        id: 1, 2, 3, … within its store.
        config: what determines the run.
        status: see `RunStatus`.
        created: when, in UTC.
        environment: versions and hardware at creation, by name.
        references: scores of published layers under the run's protocol, by layer and anchor.
        elapsed: seconds of wall time that coordinators have spent on the run.
        times: where they went, and the workers' wall time, by the names of `evonas.records.timekeeping`.
    """

    id: int
    config: RunConfig
    status: RunStatus
    created: datetime
    environment: Mapping[str, str] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    elapsed: float = 0.0
    times: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilterSummary:
    """What one filter did to the evaluated candidates of a run.

    Attributes:
        judged: verdicts it gave.
        rejected: how many of them were rejections.
        seconds: core-seconds it took.
        reasons: the rejections by reason, most frequent first.
    """

    judged: int = 0
    rejected: int = 0
    seconds: float = 0.0
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run in totals.

    Attributes:
        candidates: how many were drawn.
        statuses: evaluations by how they ended; every status is there.
        filters: the filters of the workers, in the order in which candidates reach them.
        discarded: proposals that fell to the cheap filters, by filter.
        drawing: core-seconds spent on drawing candidates, by stage (`Candidate.seconds`).
        training: core-seconds of training, by anchor.
        retries: attempts beyond each candidate's first.
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
        """How many candidates have been evaluated, whatever became of them."""
        return sum(self.statuses.values())
