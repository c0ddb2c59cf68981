"""Where the time of a run went, by the clocks that it is measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evonas.candidate import BUILDING, FAILED_ATTEMPTS
from evonas.results import Breakdown
from evonas.timekeeping import DATABASE, EVALUATING, PROPOSING, UNFINISHED, WAITING

DRAWING, FILTERS, KERNELS, TRAINING, LOST, OTHER, IDLE = (
    *("drawing", "filters", "kernels", "training"),
    *("lost", "otherwise", "idle"),
)
"""Kinds of parts, each with its colour."""
_COORDINATOR = {PROPOSING: DRAWING, DATABASE: FILTERS, WAITING: IDLE}
_WORKERS = {EVALUATING: TRAINING, UNFINISHED: LOST, "idle": IDLE}
_PREFIXES = {"filter": FILTERS, "training": TRAINING}


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
    sampling = times.proposing.get("sampling", 0.0)
    cheap = sum(times.proposing.values()) - sampling
    drawing = [Spent("making graphs", DRAWING, sampling), Spent("cheap filters", DRAWING, cheap)]
    work = [Spent(name, _kind(name), seconds) for name, seconds in times.workers.items()]
    wall = {EVALUATING: times.evaluating, UNFINISHED: times.unfinished, "idle": times.idle}
    found = [
        _clock("core time of the coordinator and the workers", [*drawing, *work]),
        _clock("wall time of the workers", _parts(wall, _WORKERS)),
        _clock("wall time of the coordinator", _parts(times.coordinator, _COORDINATOR)),
    ]
    return [clock for clock in found if clock.parts]


def _clock(title: str, parts: Sequence[Spent]) -> Clock:
    return Clock(title, [part for part in parts if part.seconds > 0])


def _parts(seconds: Mapping[str, float], kinds: Mapping[str, str]) -> list[Spent]:
    return [Spent(name, kinds.get(name, OTHER), spent) for name, spent in seconds.items()]


def _kind(name: str) -> str:
    """The kind of what workers do, by its name in `Breakdown.workers`."""
    if name in (BUILDING, FAILED_ATTEMPTS):
        return KERNELS if name == BUILDING else LOST
    return _PREFIXES.get(name.partition(" ")[0], OTHER)
