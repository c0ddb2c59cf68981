"""When a line of progress is due where lines cannot be replaced, as in a pipe: only for news, and ever more rarely."""

from __future__ import annotations

from time import monotonic

_FIRST, _LAST = 10.0, 60.0  # seconds between two lines at first, and later
_GROWTH = 1.5


class Pace:
    """Decides which lines are printed."""

    def __init__(self) -> None:
        self._printed_at: float | None = None
        self._wait = _FIRST
        self._seen: object = None

    def due(self, state: object, at_once: bool = False) -> bool:
        """Whether to print a line on a state now; then it counts as printed.

        Args:
            state: what the line tells; the same state is not told twice.
            at_once: whether it is told however short ago the last line was.
        """
        now, first = monotonic(), self._printed_at is None
        waited = first or at_once or now - (self._printed_at or 0.0) >= self._wait
        if not waited or (not first and state == self._seen):
            return False
        if not first:
            self._wait = min(_LAST, self._wait * _GROWTH)
        self._printed_at, self._seen = now, state
        return True
