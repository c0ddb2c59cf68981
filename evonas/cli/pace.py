"""How fast a run goes, and the time that it has left at that rate."""

from __future__ import annotations

from collections import deque
from time import monotonic

from evonas.cli.tables import duration
from evonas.settings.run_config import RunConfig

_WINDOW = 60.0  # seconds of recent work that speed is told from


class Pace:
    """Takes note of how far a run is, now and again, and tells its speed.

    Args:
        config: the run's, whose budgets tell what is left.
        judged: candidates judged so far.
        core_seconds: what workers have spent so far.
    """

    def __init__(self, config: RunConfig, judged: int, core_seconds: float) -> None:
        self._config = config
        self._start = self._last = (judged, core_seconds)
        self._seen: deque[tuple[float, int]] = deque([(monotonic(), judged)], maxlen=2000)

    def saw(self, judged: int, core_seconds: float) -> None:
        """The run is this far now."""
        self._last = (judged, core_seconds)
        self._seen.append((monotonic(), judged))

    def __str__(self) -> str:
        """Candidates a second of late, and the time left."""
        now, (judged, core_seconds) = monotonic(), self._last
        recent = [(at, count) for at, count in self._seen if now - at <= _WINDOW]
        gained = recent[-1][1] - recent[0][1] if recent else 0
        if not gained:
            return "time left: not known yet"
        rate = gained / max(now - recent[0][0], 1e-3)
        left = max(0, self._config.budget - judged) / rate
        if self._config.core_minutes is not None:
            each = (core_seconds - self._start[1]) / max(1, judged - self._start[0])
            left = min(left, max(0.0, 60 * self._config.core_minutes - core_seconds) / max(each, 1e-6) / rate)
        return f"{rate:.1f}/s, {duration(left)} left"
