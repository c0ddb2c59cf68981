"""Measures the wall time of a run: the coordinator's by activity, and that of its workers.

Every moment of a session belongs to exactly one activity of the coordinator, so that they add up to the elapsed time of
the run. The time of workers within an evaluation is part of the evaluation (`evonas.settings.candidate`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

LOADING = "loading"
PROPOSING = "proposing"
DATABASE = "database"
WAITING = "waiting"
SHOWING = "showing"
SENDING = "sending"
COORDINATOR = (PROPOSING, DATABASE, WAITING, SHOWING, LOADING, SENDING)
"""The activities of a coordinator: drawing candidates, writing to the database, waiting for workers, notifying
observers, reading the run at the start of a session, and the rest: sending tasks and processing results."""

AVAILABLE = "available"
EVALUATING = "evaluating"
UNFINISHED = "unfinished"
WORKERS = (AVAILABLE, EVALUATING, UNFINISHED)
"""The wall time of workers: in total, in finished evaluations, and in evaluations that are in flight, or were when a
session ended."""


class Timekeeper:
    """Measures the times of a run, and adds those of earlier sessions.

    Args:
        earlier: the seconds that earlier sessions have recorded, by activity.
        workers: how many evaluations run at the same time.
        clock: returns seconds since an arbitrary start.
    """

    def __init__(self, earlier: Mapping[str, float], workers: int, clock: Callable[[], float] = monotonic) -> None:
        self._clock, self._workers = clock, workers
        self._earlier = dict(earlier)
        self._spent = dict.fromkeys(COORDINATOR, 0.0)
        self._evaluating = 0.0
        self._sent: dict[Hashable, float] = {}  # times of submission of the evaluations in flight
        self._sum_of_sent = 0.0
        self._activity = SENDING
        self._started = self._since = clock()

    @contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Count the time of the block towards an activity, except for nested blocks of other activities."""
        before = self._switch(activity)
        try:
            yield
        finally:
            self._switch(before)

    def sent(self, key: Hashable) -> None:
        """Note that an evaluation was sent to the workers."""
        now = self._clock()
        self._sent[key] = now
        self._sum_of_sent += now

    def came_back(self, key: Hashable, wall: float) -> None:
        """Note that an evaluation came back, on which a worker spent `wall` seconds."""
        self._sum_of_sent -= self._sent.pop(key)
        self._evaluating += wall

    @property
    def elapsed(self) -> float:
        """Seconds since the start of this session."""
        return self._clock() - self._started

    def times(self) -> dict[str, float]:
        """Seconds by activity, over all sessions up to now."""
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
        # Tasks beyond the number of workers wait in a queue, so only that share of the time is spent on workers.
        return min(1.0, self._workers / sent) * (sent * now - self._sum_of_sent)

    def _switch(self, activity: str) -> str:
        """Begin an activity, and return the one that ends."""
        now, before = self._clock(), self._activity
        self._spent[before] += now - self._since
        self._activity, self._since = activity, now
        return before
