"""The contract between a search and the executor of its evaluations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from evonas.language.zoo import ROWS, zoo

if TYPE_CHECKING:
    from evonas.settings.candidate import Evaluation
    from evonas.settings.evaluation_protocol import EvaluationProtocol


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation to carry out, with everything that a worker needs to know.

    Attributes:
        index: the candidate's index; negative for a published layer that is scored for comparison.
        attempt: the number of the attempt at this candidate, from 1.
        graph: the layer as JSON.
        protocol: how to judge and score the layer.
        linear: the layer for positions without activation, as JSON; None for the affine alone.
        filtered: whether filters may reject it; published layers are scored without filters.
        split: the images on which scores are measured; a search uses "validation" only.
        held_out: the share of the training split that is left out of training and replaces the validation split; 0 for
            none.
        floors: the accuracies that the candidate must reach, by name of the checkpoint (`evonas.judging.hurdles`) or
            of the filter (`evonas.judging.floors`).
        measures: what is measured of a layer that is not filtered: its scores; what it has at the filters, none of
            which rejects it; or both.
        rung: 0 for a new candidate, or the rung of a longer training (`evonas.judging.rungs`).
        deadlines: how many times the executor's deadline it may take.
        start: what parameters of the layer start at, as in `NormAct`.
        module: the name of a layer that is no graph (`evonas.layers.modules`), in place of `graph`; empty for none.
    """

    index: int
    attempt: int
    graph: str
    protocol: EvaluationProtocol
    linear: str | None = None
    filtered: bool = True
    split: Literal["validation", "test"] = "validation"
    held_out: float = 0.0
    floors: Mapping[str, float] = field(default_factory=dict)
    measures: Literal["scores", "filters", "both"] = "scores"
    rung: int = 0
    deadlines: float = 1.0
    start: Mapping[str, float] = field(default_factory=dict)
    module: str = ""

    @property
    def key(self) -> tuple[int, int]:
        """The index and the rung: what identifies the task among those of an executor."""
        return self.index, self.rung

    @property
    def name(self) -> str:
        """The kind of task and its number, such as "candidate 17", and the rung of a longer training."""
        name = f"candidate {self.index}" if self.index >= 0 else f"reference {-self.index}"
        return f"{name} on rung {self.rung}" if self.rung else name

    @property
    def label(self) -> str:
        """The name, the attempt if it is not the first, and the anchors."""
        again = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{self.name}{again}: {', '.join(self.protocol.anchors)}"

    @property
    def group(self) -> str:
        """A label that a hundred candidates share, for statistics by label that must not grow with each task."""
        first = self.index - self.index % 100
        who = f"candidates {first} to {first + 99}" if self.index >= 0 else "references"
        return f"{who}: {', '.join(self.protocol.anchors)}"


@dataclass(frozen=True, slots=True)
class Load:
    """The current load of an executor.

    Attributes:
        queued: the number of tasks that wait for a worker.
        running: the number of tasks that are being carried out.
        idle: the number of workers that wait for a task.
        starting: the number of workers that are starting, or for which there is no room yet.
    """

    queued: int = 0
    running: int = 0
    idle: int = 0
    starting: int = 0


class Meter(ABC):
    """Receives metrics for external monitoring; `evonas.workers.executors.metrics` lists them."""

    @abstractmethod
    def record(self, metric: str, value: float, tags: Mapping[str, str]) -> None:
        """Record the new total of a counter, the new value of a gauge, or one more value of a histogram."""


def published_task(
    name: str,
    index: int,
    attempt: int,
    protocol: EvaluationProtocol,
    split: Literal["validation", "test"] = "validation",
) -> Task:
    """The task of scoring a published layer without filters, placed in networks as its publication does.

    Args:
        name: the name of the layer in the zoo.
        index, attempt, protocol, split: as in `Task`.
    """
    row = ROWS[name]
    placed = None if row.linear_graph is None else row.linear_graph.to_json()
    return Task(index, attempt, zoo[name].to_json(), protocol, placed, filtered=False, split=split, start=row.start)


class Executor(ABC):
    """Carries out tasks, several at the same time.

    An exception in a task does not propagate: `poll` returns exactly one evaluation for each submitted task, with the
    task's index and attempt. Its status is `FAILED`, with a reason, if the worker raised, died or was too slow.
    """

    @property
    @abstractmethod
    def capacity(self) -> int:
        """The number of tasks that run at the same time."""

    @property
    def dashboard(self) -> str | None:
        """The address of a dashboard of the workers as HOST:PORT, or None."""
        return None

    @property
    def note(self) -> str:
        """A message about the workers for the user; empty if there is none."""
        return ""

    @property
    def meter(self) -> Meter | None:
        """The meter for metrics of the search, or None if there is no monitoring."""
        return None

    def allow(self, seconds: float) -> None:  # noqa: B027  # not every executor has a deadline
        """Let a task take this many seconds from now on; an executor without a deadline ignores it."""

    def load(self) -> Load:
        """The current load; all zeros for an executor that does not measure it."""
        return Load()

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Start a task, or queue it."""

    @abstractmethod
    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """The evaluations that finished since the last call; waits up to `timeout` seconds for the first."""

    @abstractmethod
    def close(self) -> None:
        """Stop all tasks and release the workers. Calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
