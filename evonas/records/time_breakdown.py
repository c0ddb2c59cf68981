"""The time of a run broken down by activity, for tables, the report and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evonas.judging.cheap_filters import SAMPLING
from evonas.judging.hurdles import is_hurdle
from evonas.records.timekeeping import AVAILABLE, COORDINATOR, EVALUATING, UNFINISHED
from evonas.settings.candidate import BUILDING
from evonas.settings.objectives import OBJECTIVES

if TYPE_CHECKING:
    from evonas.records.run_info import RunInfo, RunSummary

CHEAP, IDLE = "cheap filters", "idle"


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The time of a run by activity, in seconds.

    Attributes:
        elapsed: wall time of the coordinator, over all sessions.
        coordinator: the same by activity (`evonas.records.timekeeping.COORDINATOR`); empty in runs of earlier versions.
        proposing: core-seconds of proposing by stage: selection, sampling, canonical forms, and each cheap filter.
        workers: core-seconds of workers by activity: each filter, building kernels, training by anchor, further
            objectives, failed attempts.
        available: wall time of all workers together.
        evaluating: the part of it that went into finished evaluations.
        unfinished: the part of it that went into evaluations that are in flight, or were when a session ended.
    """

    elapsed: float
    coordinator: Mapping[str, float]
    proposing: Mapping[str, float]
    workers: Mapping[str, float]
    available: float
    evaluating: float
    unfinished: float

    @property
    def idle(self) -> float:
        """Wall time in which workers waited for the coordinator, for the lookahead, or for their start."""
        return max(0.0, self.available - self.evaluating - self.unfinished)

    @property
    def core(self) -> dict[str, float]:
        """Core-seconds of the coordinator for drawing candidates, and of workers, by activity."""
        sampling = self.proposing.get(SAMPLING, 0.0)
        return {SAMPLING: sampling, CHEAP: sum(self.proposing.values()) - sampling, **self.workers}

    @property
    def workers_wall(self) -> dict[str, float]:
        """Wall time of all workers, by activity."""
        return {EVALUATING: self.evaluating, UNFINISHED: self.unfinished, IDLE: self.idle}

    def as_dict(self) -> dict[str, Any]:
        """The breakdown as a document for JSON."""
        return {
            "elapsed": self.elapsed,
            "coordinator": dict(self.coordinator),
            "proposing": dict(self.proposing),
            "workers": dict(self.workers),
            "workers_wall": {AVAILABLE: self.available, **self.workers_wall},
        }


def breakdown(run: RunInfo, summary: RunSummary) -> Breakdown:
    """The time of a run by activity."""
    anchors, training = run.config.protocol.anchors, dict(summary.training)
    building = training.pop(BUILDING, None)
    workers = {f"filter {name}": f.seconds for name, f in summary.filters.items() if not is_hurdle(name)}
    workers |= {} if building is None else {BUILDING: building}
    workers |= {f"training {anchor}": training.pop(anchor) for anchor in anchors if anchor in training}
    workers |= {f"objective {name}": training.pop(name) for name in OBJECTIVES if name in training}
    times = run.times
    return Breakdown(
        run.elapsed,
        {activity: times[activity] for activity in COORDINATOR if activity in times},
        dict(summary.drawing),
        workers | training,
        *(times.get(name, 0.0) for name in (AVAILABLE, EVALUATING, UNFINISHED)),
    )
