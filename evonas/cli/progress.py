"""A progress bar of trainings, with the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evonas.cli import options


class _Bar:
    """Shows how many of all trainings are done; it appears with the first call of `tick`."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None
        self._total = 0

    def tick(self, pending: int) -> None:
        """Moves the bar to the number of trainings that are still pending."""
        if self._task is None:
            self._total = pending
            self._task = self._progress.add_task("training", total=pending)
            self._progress.start()
        self._progress.update(self._task, completed=self._total - pending)


@contextmanager
def training_bar() -> Iterator[_Bar]:
    """A progress bar on stderr if that is a terminal; it disappears at the end."""
    # By default rich estimates the time left from the last half minute, but a training can take minutes.
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
