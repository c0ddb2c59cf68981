"""Trainings outside a search: making their tasks, and carrying out a list of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

from evonas.evolution.executor import Executor, Task, published_task
from evonas.evolution.tasks_in_flight import TasksInFlight
from evonas.language.zoo import as_graph, zoo
from evonas.layers.modules.module_names import MODULES

if TYPE_CHECKING:
    from evonas.language.graph import Graph
    from evonas.settings.candidate import Evaluation
    from evonas.settings.evaluation_protocol import EvaluationProtocol

_POLL_SECONDS = 0.5


class Progress(Protocol):
    """Is notified of the number of remaining trainings: at the start, and whenever it may have changed."""

    def tick(self, pending: int) -> None:
        """Called with the number of trainings that remain."""


def training_task(
    layer: Graph | str,
    index: int,
    protocol: EvaluationProtocol,
    *,
    split: Literal["validation", "test"] = "validation",
    held_out: float = 0.0,
) -> Task:
    """The task of training and scoring a layer on each anchor of a protocol, without filters.

    Args:
        layer: the name of a published layer, which may be one of `evonas.layers.modules`, an expression or a graph. A
            published layer is placed as its publication does, with its own normalisation at positions without
            activation.
        index: the number of the task.
        protocol: how to train and score.
        split, held_out: as in `Task`.

    Raises:
        UsageError: `layer` is neither a name nor a valid expression.
    """
    if isinstance(layer, str) and layer in zoo:
        return replace(published_task(layer, index, 1, protocol, split), held_out=held_out)
    if isinstance(layer, str) and layer in MODULES:
        return Task(index, 1, "", protocol, filtered=False, split=split, held_out=held_out, module=layer)
    graph = as_graph(layer).to_json()
    return Task(index, 1, graph, protocol, filtered=False, split=split, held_out=held_out)


def carry_out(
    tasks: Sequence[Task],
    executor: Executor,
    *,
    max_attempts: int = 1,
    progress: Progress | None = None,
    later: int = 0,
) -> Iterator[Evaluation]:
    """Carry out tasks, and yield the evaluation of each as it arrives.

    Args:
        tasks: the tasks, with distinct indices, in the order in which they are started.
        executor: an executor without other tasks.
        max_attempts: how often a task is tried if it fails.
        progress: is notified of the number of remaining tasks.
        later: the number of tasks that will follow in another call, which count as remaining.
    """
    in_flight = TasksInFlight(executor.submit, max_attempts)
    for task in tasks:
        in_flight.add(task)
    if progress is not None:
        progress.tick(len(in_flight) + later)
    while in_flight:
        for evaluation in executor.poll(_POLL_SECONDS):
            answered = in_flight.take(evaluation)
            if answered is not None and not in_flight.retry(answered, evaluation):
                yield evaluation
        if progress is not None:
            progress.tick(len(in_flight) + later)
