"""Where the time of a run went. Whatever else is measured of it joins here, as a further part."""

from __future__ import annotations

from dataclasses import dataclass

from evonas.candidate import FAILED_ATTEMPTS
from evonas.runs import RunSummary

DRAWING, FILTERS, TRAINING, LOST = "drawing", "filters", "training", "lost"


@dataclass(frozen=True, slots=True)
class Spent:
    """A part of a run's time.

    Attributes:
        where: in a few words.
        kind: `DRAWING` in the coordinator, `FILTERS` or `TRAINING` on workers, or `LOST` to attempts that failed.
        seconds: core-seconds.
    """

    where: str
    kind: str
    seconds: float


def spent(summary: RunSummary) -> list[Spent]:
    """The parts of a run's time, in the order of the work; those that took none are left out."""
    sampling = summary.drawing.get("sampling", 0.0)
    parts = [
        Spent("making graphs", DRAWING, sampling),
        Spent("cheap filters", DRAWING, sum(summary.drawing.values()) - sampling),
    ]
    parts += [Spent(name, FILTERS, f.seconds) for name, f in summary.filters.items()]
    for name, seconds in summary.training.items():
        lost = name == FAILED_ATTEMPTS
        parts.append(Spent(name if lost else f"training {name}", LOST if lost else TRAINING, seconds))
    return [part for part in parts if part.seconds > 0]
