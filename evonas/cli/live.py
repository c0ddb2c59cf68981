"""Watching a search: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter, deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from evonas.candidate import Candidate, Evaluation, Status
from evonas.cli.tables import duration, filters_table, layers_table
from evonas.errors import StorageUnavailableError
from evonas.results import Row, row

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from evonas.store import RunInfo, Store

_SHOWN = 8  # best layers in the display
_RATE_WINDOW = 60.0  # seconds of recent work from which speed and time left are told
_LINE_EVERY = 15.0  # seconds between lines where there is no terminal


class Watcher:
    """An observer of a search that shows it: progress, filters, and the best layers beside published ones.

    Args:
        run: the run that is being executed.
        store: where it is recorded; totals are read from it.
        console: where to show it.
        dashboard: address of Ray's dashboard, if there is one.
    """

    def __init__(self, run: RunInfo, store: Store, console: Console, dashboard: str | None = None) -> None:
        self.run, self.store, self.console, self.dashboard = run, store, console, dashboard
        self.best: list[Row] = [row(run, *pair) for pair in store.best(run.id, _SHOWN)]
        summary = store.summary(run.id)
        self.judged = summary.evaluations
        self._judged_at_start = self.judged
        self._core_seconds = sum(summary.training.values()) + sum(f.seconds for f in summary.filters.values())
        self._core_seconds_at_start = self._core_seconds
        self._discarded = Counter(summary.discarded)
        self._rejected = Counter({name: f.rejected for name, f in summary.filters.items()})
        self._finished_at: deque[float] = deque([monotonic()], maxlen=2000)
        self._shown_at = 0.0
        self._pending = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[pace]}"),
        )
        self._task = self._bar.add_task("candidates judged", total=run.config.budget, completed=self.judged, pace="")
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> Watcher:
        if self._live is not None:
            self._live.start()
        self.show()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def drawn(self, candidate: Candidate) -> None:
        """See `Observer`."""
        self._discarded.update(candidate.discarded)

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """See `Observer`."""
        self.judged += 1
        self._core_seconds += evaluation.core_seconds
        self._rejected.update(outcome.name for outcome in evaluation.filters if not outcome.accepted)
        self._finished_at.append(monotonic())
        if evaluation.status is not Status.SCORED:
            return
        found = row(self.run, candidate, evaluation)
        is_best = not self.best or found.mean > self.best[0].mean
        self.best = sorted([*self.best, found], key=lambda r: -r.mean)[:_SHOWN]
        if is_best and self._live is None:
            self.console.print(f"  new best {found.mean:.3f}  {found.expression}", markup=False, highlight=False)

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """See `Observer`."""
        if self._live is None:
            told = f"{evaluation.mean:.3f}" if evaluation.scores else f"failed: {evaluation.reason}"
            self.console.print(f"  {layer} under this protocol: {told}", markup=False, highlight=False)

    def tick(self, pending: int) -> None:
        """See `Observer`."""
        self._pending = pending
        if monotonic() - self._shown_at >= (0.5 if self._live is not None else _LINE_EVERY):
            self.show()

    def show(self) -> None:
        """Draws the display anew, or prints a line."""
        self._shown_at = monotonic()
        if self._live is not None:
            with suppress(StorageUnavailableError):  # the search waits for it, and so does the display
                self._live.update(self._display(), refresh=True)
        else:
            best = f", best mean {self.best[0].mean:.3f}" if self.best else ""
            fell = ", ".join(f"{name} {count:,}" for name, count in (self._discarded + self._rejected).items())
            line = (
                f"{self.judged:,} of {self.run.config.budget:,} candidates judged{best}, {self._pace()}; fell: {fell}"
            )
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _display(self) -> RenderableType:
        config = self.run.config
        self._bar.update(self._task, completed=self.judged, pace=self._pace())
        about = f"run {self.run.id}   space {config.space.name}   strategy {config.strategy}   seed {config.seed}"
        if self.dashboard:
            about += f"   Ray dashboard http://{self.dashboard}"
        summary = self.store.summary(self.run.id)
        references = self.store.run(self.run.id).references
        anchors = config.protocol.anchors
        return Group(
            Text(about, style="dim"),
            self._bar,
            filters_table(summary),
            layers_table(self.best, references, anchors, "best layers so far"),
            Text(
                f"{self._pending} in flight; Ctrl-C stops, `evonas resume {self.run.id}` continues",
                style="dim",
            ),
        )

    def _pace(self) -> str:
        """Candidates a second of late, and the time left at that rate."""
        now = monotonic()
        recent = [t for t in self._finished_at if now - t <= _RATE_WINDOW]
        if len(recent) < 2:
            return "time left: not known yet"
        rate = len(recent) / max(now - recent[0], 1e-3)
        left = max(0, self.run.config.budget - self.judged) / rate
        if self.run.config.core_minutes is not None:
            gained = self._core_seconds - self._core_seconds_at_start
            per_candidate = gained / max(1, self.judged - self._judged_at_start)
            compute_left = max(0.0, 60 * self.run.config.core_minutes - self._core_seconds)
            left = min(left, compute_left / max(per_candidate, 1e-6) / rate)
        return f"{rate:.1f}/s, {duration(left)} left"
