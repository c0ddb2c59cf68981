"""Where the time of a run went, by the clocks that it is measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.judging.cheap_filters import SAMPLING
from evonas.records import time_breakdown as breakdown
from evonas.records.time_breakdown import CHEAP, Breakdown
from evonas.records.timekeeping import DATABASE, EVALUATING, PROPOSING, UNFINISHED, WAITING
from evonas.settings.candidate import BUILDING, FAILED_ATTEMPTS

DRAWING, FILTERS, KERNELS, TRAINING, LOST, OTHER, IDLE = (
    *("drawing", "filters", "kernels", "training"),
    *("lost", "otherwise", "idle"),
)
"""Kinds of parts, each with its colour."""
_KINDS = {
    SAMPLING: DRAWING,
    CHEAP: DRAWING,
    "filter": FILTERS,
    BUILDING: KERNELS,
    "training": TRAINING,
    FAILED_ATTEMPTS: LOST,
    EVALUATING: TRAINING,
    UNFINISHED: LOST,
    breakdown.IDLE: IDLE,
    PROPOSING: DRAWING,
    DATABASE: FILTERS,
    WAITING: IDLE,
}
"""By what `Breakdown` calls a part, or the first word of it."""
_CALLED = {SAMPLING: "making graphs"}


@dataclass(frozen=True, slots=True)
class Spent:
    """A part of a run's time.

    Attributes:
        where: in a few words.
        kind: one of the kinds above.
        seconds: on its clock.
    """

    where: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Clock:
    """A run's time as one clock sees it.

    Attributes:
        title: which clock.
        parts: what the time went into; those that took none are left out.
    """

    title: str
    parts: Sequence[Spent]

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(part.seconds for part in self.parts)


def clocks(times: Breakdown) -> list[Clock]:
    """What processors worked on, and where the wall time of workers and of the coordinator went.

    The latter two are missing in runs of versions that did not keep them.
    """
    found = [
        _clock("core time of the coordinator and the workers", times.core),
        _clock("wall time of the workers", times.workers_wall),
        _clock("wall time of the coordinator", times.coordinator),
    ]
    return [clock for clock in found if clock.parts]


def _clock(title: str, seconds: Mapping[str, float]) -> Clock:
    parts = [Spent(_CALLED.get(name, name), _kind(name), spent) for name, spent in seconds.items()]
    return Clock(title, [part for part in parts if part.seconds > 0])


def _kind(name: str) -> str:
    return _KINDS.get(name) or _KINDS.get(name.partition(" ")[0], OTHER)
