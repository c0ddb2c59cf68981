"""Where a run's time goes: the coordinator's wall time by activity, and that of its workers.

Every moment of a session belongs to exactly one of the coordinator's activities, so that they add up to the
elapsed time of the run. What workers do within an evaluation is part of the evaluation (`evonas.settings.candidate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

LOADING = "loading"
PROPOSING = "proposing"
DATABASE = "database"
WAITING = "waiting"
SHOWING = "showing"
SENDING = "sending"
COORDINATOR = (PROPOSING, DATABASE, WAITING, SHOWING, LOADING, SENDING)
"""What a coordinator does: drawing candidates, writing to the database, waiting for workers, telling observers,
reading the run at the start of a session; and everything else, which is sending tasks and taking in results."""

AVAILABLE = "available"
EVALUATING = "evaluating"
UNFINISHED = "unfinished"
WORKERS = (AVAILABLE, EVALUATING, UNFINISHED)
"""What is known of workers' wall time: how much there was in all, how much evaluations took that came back, and how
much went into those that are in flight, or were when a session ended."""


class Timekeeper:
    """Keeps a run's times, those of earlier sessions included.

    Args:
        earlier: what earlier sessions have recorded.
        workers: how many evaluations run at a time.
        clock: seconds, from anywhere.
    """

    def __init__(self, earlier: Mapping[str, float], workers: int, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._workers = clock, workers
        self._earlier = dict(earlier)
        self._spent = dict.fromkeys(COORDINATOR, 0.0)
        self._evaluating = 0.0
        self._sent: dict[int, float] = {}  # when, of what is in flight
        self._sum_of_sent = 0.0
        self._activity = SENDING
        self._started = self._since = clock()

    @contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Counts the block towards an activity, less blocks within it that count towards others."""
        before = self._switch(activity)
        try:
            yield
        finally:
            self._switch(before)

    def sent(self, index: int) -> None:
        """An evaluation goes to the workers."""
        now = self._clock()
        self._sent[index] = now
        self._sum_of_sent += now

    def came_back(self, index: int, wall: float) -> None:
        """An evaluation that was sent came back; a worker spent `wall` seconds on it."""
        self._sum_of_sent -= self._sent.pop(index)
        self._evaluating += wall

    @property
    def elapsed(self) -> float:
        """Seconds of this session."""
        return self._clock() - self._started

    def times(self) -> dict[str, float]:
        """Seconds by activity, of all sessions up to now."""
        self._switch(self._activity)
        now = self._since
        session = {
            **self._spent,
            AVAILABLE: self._workers * (now - self._started),
            EVALUATING: self._evaluating,
            UNFINISHED: self._unfinished(now),
        }
        return {name: self._earlier.get(name, 0.0) + seconds for name, seconds in session.items()}

    def _unfinished(self, now: float) -> float:
        sent = len(self._sent)
        if sent == 0:
            return 0.0
        # The last to be sent may wait for a worker.
        return min(1.0, self._workers / sent) * (sent * now - self._sum_of_sent)

    def _switch(self, activity: str) -> str:
        """Begins an activity; returns the one that it ends."""
        now, before = self._clock(), self._activity
        self._spent[before] += now - self._since
        self._activity, self._since = activity, now
        return before
