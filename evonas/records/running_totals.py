"""The totals of a run, updated with each candidate, so that a display need not read the run again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from evonas.records.run_info import FilterSummary, RunSummary
from evonas.records.store import by_frequency
from evonas.settings.candidate import LONGER, Candidate, Evaluation, FilterOutcome, Status

Number = TypeVar("Number", int, float)


@dataclass
class _Filter:
    """The totals of one filter; `place` is the earliest place at which a candidate reached it."""

    place: int
    judged: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: FilterOutcome, place: int) -> None:
        self.place = min(self.place, place)
        self.judged += 1
        self.seconds += outcome.seconds
        if not outcome.accepted:
            self.reasons[outcome.reason] += 1


class RunningTotals:
    """Totals of a run that are updated with each candidate and evaluation.

    Args:
        since: the totals to start from; None for a run without candidates.
    """

    def __init__(self, since: RunSummary | None = None) -> None:
        self._candidates = 0 if since is None else since.candidates
        self._statuses = Counter[Status]() if since is None else Counter(since.statuses)
        self._retries = 0 if since is None else since.retries
        self._discarded: dict[str, int] = {} if since is None else dict(since.discarded)
        self._drawing: dict[str, float] = {} if since is None else dict(since.drawing)
        self._training: dict[str, float] = {} if since is None else dict(since.training)
        # Candidates reach the filters one after another, so their order in the summary gives their places.
        self._filters = {
            name: _Filter(place, one.judged, one.seconds, Counter(one.reasons))
            for place, (name, one) in enumerate(() if since is None else since.filters.items())
        }

    def drawn(self, candidate: Candidate) -> None:
        """Add a candidate that was drawn."""
        self._candidates += 1
        _add(self._discarded, candidate.discarded)
        _add(self._drawing, candidate.seconds)

    def evaluated(self, evaluation: Evaluation) -> None:
        """Add an evaluation."""
        self._statuses[evaluation.status] += 1
        self._retries += evaluation.attempts - 1
        _add(self._training, evaluation.seconds)
        for place, outcome in enumerate(evaluation.filters):
            self._filters.setdefault(outcome.name, _Filter(place)).add(outcome, place)

    def trained_longer(self, seconds: float) -> None:
        """Add core-seconds of a training on a rung."""
        _add(self._training, {LONGER: seconds})

    def summary(self, last_activity: datetime | None = None) -> RunSummary:
        """The totals as `Store.summary` gives them; the last activity is now unless it is given."""
        in_order = sorted(self._filters.items(), key=lambda item: (item[1].place, item[0]))
        return RunSummary(
            candidates=self._candidates,
            statuses={status: self._statuses[status] for status in Status},
            filters={
                name: FilterSummary(one.judged, one.reasons.total(), one.seconds, by_frequency(one.reasons))
                for name, one in in_order
            },
            discarded=dict(sorted(self._discarded.items())),
            drawing=dict(sorted(self._drawing.items())),
            training=dict(sorted(self._training.items())),
            retries=self._retries,
            last_activity=last_activity or datetime.now(UTC),
        )


def _add(sums: dict[str, Number], part: Mapping[str, Number]) -> None:
    for name, amount in part.items():
        sums[name] = sums[name] + amount if name in sums else amount
