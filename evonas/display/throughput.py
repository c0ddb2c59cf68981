"""How many candidates a run judges per second, and how much time it has left at that speed."""

from __future__ import annotations

from collections import deque
from time import monotonic

from evonas.report.number_format import duration
from evonas.settings.run_config import RunConfig

_WINDOW = 60.0  # seconds of recent work that the speed is computed from


class Throughput:
    """Records the progress of a run and computes its speed.

    Args:
        config: the run's configuration, whose budgets determine what is left.
        judged: the number of candidates judged so far.
        core_seconds: the core-seconds that workers have spent so far.
    """

    def __init__(self, config: RunConfig, judged: int, core_seconds: float) -> None:
        self._config = config
        self._start = self._last = (judged, core_seconds)
        self._seen: deque[tuple[float, int]] = deque([(monotonic(), judged)], maxlen=2000)

    def update(self, judged: int, core_seconds: float) -> None:
        """Records the progress that the run has made by now."""
        self._last = (judged, core_seconds)
        self._seen.append((monotonic(), judged))

    def __str__(self) -> str:
        """The candidates per second over the last minute, and the time left."""
        return ", ".join(self.words()) or "time left: not known yet"

    def words(self) -> list[str]:
        """The same as a list of two, which is empty as long as nothing is known."""
        now, (judged, core_seconds) = monotonic(), self._last
        recent = [(at, count) for at, count in self._seen if now - at <= _WINDOW]
        gained = recent[-1][1] - recent[0][1] if recent else 0
        if not gained:
            return []
        per_second = gained / max(now - recent[0][0], 1e-3)
        left = max(0, self._config.budget - judged) / per_second
        if self._config.core_minutes is not None:
            each = (core_seconds - self._start[1]) / max(1, judged - self._start[0])
            left = min(left, max(0.0, 60 * self._config.core_minutes - core_seconds) / max(each, 1e-6) / per_second)
        return [f"{per_second:.1f}/s", f"{duration(left)} left"]
