"""Trainings that are no search: making the task of one, and carrying out a list of them to its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

from evonas.evolution.executor import Executor, Task, published_task
from evonas.language.zoo import as_graph, zoo
from evonas.settings.candidate import Status

if TYPE_CHECKING:
    from evonas.language.graph import Graph
    from evonas.settings import evaluation_protocol as protocol
    from evonas.settings.candidate import Evaluation

_POLL_SECONDS = 0.5


class Progress(Protocol):
    """Told how many trainings are left: first of all, and whenever that may have changed."""

    def tick(self, pending: int) -> None:
        """So many trainings are left."""


def training_task(
    layer: Graph | str,
    index: int,
    settings: protocol.EvaluationProtocol,
    *,
    split: Literal["validation", "test"] = "validation",
    held_out: float = 0.0,
) -> Task:
    """The training and scoring of a layer whatever filters would say.

    Args:
        layer: a published name, an expression or a graph. A published layer is placed as its publication
            does, with its own normalisation where a network has no activation.
        index: tells the task from others.
        settings: how to train; of its anchors each is trained once.
        split: which images to score on.
        held_out: as in `Task`.

    Raises:
        UsageError: when `layer` is no layer.
    """
    if isinstance(layer, str) and layer in zoo:
        return replace(published_task(layer, index, 1, settings, split), held_out=held_out)
    graph = as_graph(layer).to_json()
    return Task(index, 1, graph, settings, filtered=False, split=split, held_out=held_out)


def carry_out(
    tasks: Sequence[Task],
    executor: Executor,
    *,
    max_attempts: int = 1,
    progress: Progress | None = None,
    more: int = 0,
) -> Iterator[Evaluation]:
    """Runs tasks, whose indices differ, to the last; gives the evaluation of each as it comes.

    Args:
        tasks: what to run, which is started in this order.
        executor: what carries them out; it has no other tasks.
        max_attempts: how often a task that fails is tried.
        progress: told of the tasks left.
        more: how many will follow in another call; they count as left.
    """
    pending = {task.index: task for task in tasks}
    for task in tasks:
        executor.submit(task)
    if progress is not None:
        progress.tick(len(pending) + more)
    while pending:
        for evaluation in executor.poll(_POLL_SECONDS):
            asked = pending.get(evaluation.index)
            if asked is None or evaluation.attempts < asked.attempt:
                continue  # it came twice
            if evaluation.status is Status.FAILED and asked.attempt < max_attempts:
                pending[evaluation.index] = replace(asked, attempt=asked.attempt + 1)
                executor.submit(pending[evaluation.index])
                continue
            del pending[evaluation.index]
            yield evaluation
        if progress is not None:
            progress.tick(len(pending) + more)
