"""A bar of the trainings that are left, and the time they will take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evonas.cli import options


class _Bar:
    """Shows how many trainings are left, of as many as there were at first."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None)
        self._total: int | None = None

    def tick(self, pending: int) -> None:
        """Moves the bar."""
        if self._total is None:
            self._total = pending
        self._progress.update(self._task, total=self._total, completed=self._total - pending)


@contextmanager
def training_bar() -> Iterator[_Bar]:
    """A bar on stderr that is gone at the end."""
    # rich guesses the time left from the last half minute unless told otherwise; a training can take minutes.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=options.stderr, transient=True, speed_estimate_period=600.0) as progress:
        yield _Bar(progress)
