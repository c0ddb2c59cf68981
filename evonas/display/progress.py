"""A progress bar of trainings, with the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evonas.display.pace import Pace
from evonas.display.screen import screen_of
from evonas.report.number_format import duration

if TYPE_CHECKING:
    from rich.console import Console


class _Bar:
    """Shows how many of all trainings are done; it appears with the first call of `tick`."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what = console, what
        self._screen, self._pace = screen_of(console), Pace()
        # By default rich estimates the time left from the last half minute, but a training can take minutes.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=600.0,
        )
        self._task: TaskID | None = None
        self._total = 0

    def tick(self, pending: int) -> None:
        """Moves the bar to the number of trainings that are still pending."""
        if self._task is None:
            self._total = pending
            self._task = self._progress.add_task(self._what, total=pending)
            if self._screen is not None:
                self._screen.start()
        self._progress.update(self._task, completed=self._total - pending)
        if self._screen is not None:
            self._screen.update(self._progress.get_renderable(), refresh=True)
        elif self._pace.due(pending, at_once=not pending):
            self._console.print(self._line(pending), markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Removes the bar."""
        if self._screen is not None and self._task is not None:
            self._screen.stop()

    def _line(self, pending: int) -> str:
        line = f"{self._what}: {self._total - pending:,} of {self._total:,} trainings done"
        seconds = None if self._task is None else self._progress.tasks[0].time_remaining
        return f"{line}, {duration(seconds)} left" if pending and seconds else line


@contextmanager
def training_bar(console: Console, what: str = "training") -> Iterator[_Bar]:
    """A progress bar, which disappears at the end; where nothing can be replaced, a line now and then.

    Args:
        console: where to show it.
        what: what the trainings are for.
    """
    bar = _Bar(console, what)
    try:
        yield bar
    finally:
        bar.stop()
