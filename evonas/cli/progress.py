"""A progress bar of trainings, with the time that is left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from evonas.cli import options

_LINE_EVERY = 15.0  # seconds between lines without a terminal


class _Bar:
    """Shows how many of all trainings are done; it appears with the first call of `tick`."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress, self._what = progress, what
        self._printed_at = 0.0
        self._task: TaskID | None = None
        self._total = 0

    def tick(self, pending: int) -> None:
        """Moves the bar to the number of trainings that are still pending."""
        if self._task is None:
            self._total = pending
            self._task = self._progress.add_task(self._what, total=pending)
            self._progress.start()
        self._progress.update(self._task, completed=self._total - pending)
        due = monotonic() - self._printed_at >= _LINE_EVERY or not pending
        if due and not options.stderr.is_terminal:
            self._printed_at = monotonic()
            line = f"{self._what}: {self._total - pending:,} of {self._total:,} trainings done"
            options.stderr.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def training_bar(what: str = "training") -> Iterator[_Bar]:
    """A progress bar on stderr, which disappears at the end; where that is no terminal, a line now and then.

    Args:
        what: what the trainings are for.
    """
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
        yield _Bar(progress, what)
    finally:
        progress.stop()
