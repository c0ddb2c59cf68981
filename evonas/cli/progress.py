"""A bar of the trainings that are left, and the time they will take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evonas.cli import options


class _Bar:
    """Shows how many trainings are left, of as many as there were at first; nothing before it is told."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._total = 0

    def tick(self, pending: int) -> None:
        """Moves the bar."""
        if self._task is None:
            self._total = pending
            self._task = self._progress.add_task("training", total=pending)
            self._progress.start()
        self._progress.update(self._task, completed=self._total - pending)


@contextmanager
def training_bar() -> Iterator[_Bar]:
    """A bar on stderr, where that is a terminal; it is gone at the end."""
    # rich guesses the time left from the last half minute unless told otherwise; a training can take minutes.
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=options.stderr,
        transient=True,
        speed_estimate_period=600.0,
        disable=not options.stderr.is_terminal,
    )
    try:
        yield _Bar(progress)
    finally:
        progress.stop()
