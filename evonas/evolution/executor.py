"""The contract between a search and whatever carries out its evaluations."""

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
    """One evaluation to carry out; everything a worker needs to know.

    Attributes:
        index: the candidate's index; negative for a published layer that is scored for comparison.
        attempt: 1, 2, … of this candidate.
        graph: the layer, as JSON.
        linear: the layer of positions without activation, as JSON; None for the affine alone.
        protocol: how to judge and score.
        filtered: whether filters may reject it; published layers are scored whatever they reach.
        split: the images that scores are measured on; a search only ever uses "validation".
        held_out: share of the training split that is left out of training and takes the place of the
            validation split; 0 for none.
        floors: what the candidate has to reach at checkpoints, by their names (`evonas.judging.hurdles`).
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

    @property
    def name(self) -> str:
        """The task in two words."""
        return f"candidate {self.index}" if self.index >= 0 else f"reference {-self.index}"

    @property
    def label(self) -> str:
        """The task and its anchors."""
        again = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{self.name}{again}: {', '.join(self.protocol.anchors)}"

    @property
    def group(self) -> str:
        """The same for a hundred candidates together, for who keeps something by the names of tasks."""
        first = self.index - self.index % 100
        who = f"candidates {first} to {first + 99}" if self.index >= 0 else "references"
        return f"{who}: {', '.join(self.protocol.anchors)}"


@dataclass(frozen=True, slots=True)
class Load:
    """What an executor is at.

    Attributes:
        queued: tasks that wait for a worker.
        running: tasks that are being carried out.
        idle: workers that wait for a task.
        starting: workers that are not up yet, or for which there is no room.
    """

    queued: int = 0
    running: int = 0
    idle: int = 0
    starting: int = 0


class Meter(ABC):
    """Takes numbers for whoever watches from outside; `evonas.workers.executors.metrics` says which there are."""

    @abstractmethod
    def record(self, metric: str, value: float, tags: Mapping[str, str]) -> None:
        """Takes the new total of a counter, the new value of a gauge, or one more value of a histogram."""


def published_task(
    name: str,
    index: int,
    attempt: int,
    protocol: EvaluationProtocol,
    split: Literal["validation", "test"] = "validation",
) -> Task:
    """The scoring of a published layer, placed as its publication does, whatever filters would say."""
    linear = ROWS[name].linear_graph
    placed = None if linear is None else linear.to_json()
    return Task(index, attempt, zoo[name].to_json(), protocol, placed, filtered=False, split=split)


class Executor(ABC):
    """Carries out tasks, some at a time.

    A task never raises through the executor: whatever happens to it, `poll` returns exactly one evaluation
    for each task submitted, with the task's index and attempt, and with status `FAILED` and a reason where
    the worker raised, died, or took longer than the deadline.
    """

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many tasks run at the same time."""

    @property
    def dashboard(self) -> str | None:
        """Where to watch the workers, as HOST:PORT, if there is such a place."""
        return None

    @property
    def note(self) -> str:
        """What the user should know about the workers, if there is anything."""
        return ""

    @property
    def meter(self) -> Meter | None:
        """Where numbers about a search go to be watched, if anybody can watch."""
        return None

    def load(self) -> Load:
        """What the executor is at; an executor that does not know says that it is at nothing."""
        return Load()

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Starts or queues a task."""

    @abstractmethod
    def poll(self, timeout: float) -> Sequence[Evaluation]:
        """Evaluations that have finished since the last call; waits up to `timeout` seconds for the first."""

    @abstractmethod
    def close(self) -> None:
        """Stops everything that runs and gives back workers; calling it again does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
