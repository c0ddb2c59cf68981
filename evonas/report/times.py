"""Where the time of a run went, for each of the clocks that measure it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.judging.cheap_filters import SAMPLING
from evonas.records import time_breakdown
from evonas.records.time_breakdown import CHEAP, Breakdown
from evonas.records.timekeeping import DATABASE, EVALUATING, PROPOSING, UNFINISHED, WAITING
from evonas.settings.candidate import BUILDING, FAILED_ATTEMPTS

DRAWING, FILTERS, KERNELS, TRAINING, LOST, OTHER, IDLE = (
    *("drawing", "filters", "kernels", "training"),
    *("lost", "otherwise", "idle"),
)
"""The kinds of parts; the page and the pictures have a colour for each."""
_KINDS = {
    SAMPLING: DRAWING,
    CHEAP: DRAWING,
    "filter": FILTERS,
    BUILDING: KERNELS,
    "training": TRAINING,
    FAILED_ATTEMPTS: LOST,
    EVALUATING: TRAINING,
    UNFINISHED: LOST,
    time_breakdown.IDLE: IDLE,
    PROPOSING: DRAWING,
    DATABASE: FILTERS,
    WAITING: IDLE,
}
"""The kind of a part, by its name in `Breakdown` or by the first word of that name."""
_LABELS = {SAMPLING: "making graphs"}


@dataclass(frozen=True, slots=True)
class Spent:
    """A part of a run's time.

    Attributes:
        where: what the time was spent on, in a few words.
        kind: one of the kinds above.
        seconds: the time on its clock.
    """

    where: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Clock:
    """A run's time as measured by one clock.

    Attributes:
        title: what the clock measures.
        parts: what the time was spent on; parts that took no time are left out.
    """

    title: str
    parts: Sequence[Spent]

    @property
    def total(self) -> float:
        """The sum of all parts in seconds."""
        return sum(part.seconds for part in self.parts)


def clocks(times: Breakdown) -> list[Clock]:
    """The core time of a run, and the wall time of its workers and of its coordinator.

    Runs of versions that did not record wall times have core time alone.
    """
    found = [
        _clock("core time of the coordinator and the workers", times.core),
        _clock("wall time of the workers", times.workers_wall),
        _clock("wall time of the coordinator", times.coordinator),
    ]
    return [clock for clock in found if clock.parts]


def _clock(title: str, seconds: Mapping[str, float]) -> Clock:
    parts = [Spent(_LABELS.get(name, name), _kind(name), spent) for name, spent in seconds.items()]
    return Clock(title, [part for part in parts if part.seconds > 0])


def _kind(name: str) -> str:
    return _KINDS.get(name) or _KINDS.get(name.partition(" ")[0], OTHER)
