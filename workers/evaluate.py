"""What a worker does with a task: build, filter, train, score."""

from __future__ import annotations

from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

from evonas.candidate import Accept, Evaluation, FilterOutcome, Reject, Status
from evonas.graph import Graph
from evonas.layer import LayerFactory
from evonas.workers.batches import crop_size
from evonas.workers.data import DataSet, load_dataset
from evonas.workers.filters import filters_of
from evonas.workers.training import check_device
from evonas.workers.trial import Trial

if TYPE_CHECKING:
    from evonas.executor import Task
    from evonas.protocol import Protocol


def load_data(protocol: Protocol) -> DataSet:
    """The protocol's data set, once it is known that it can be trained on as the protocol wants.

    Raises:
        UsageError: when it is unknown, its files are missing or not what they should be, crops do not fit
            into its images, or there is no such device.
    """
    check_device(protocol.device)
    data = load_dataset(protocol.data, Path(protocol.data_dir) if protocol.data_dir else None, protocol.image_size)
    crop_size(data.size, protocol.pad, protocol.crop)
    return data


def evaluate(task: Task, data: DataSet) -> Evaluation:
    """Judges and scores the task's layer. Times are core-seconds of this process, on one thread."""
    layer = LayerFactory(Graph.from_json(task.graph))
    if task.linear is not None:
        layer = LayerFactory(layer.graph, Graph.from_json(task.linear))
    trial = Trial(layer, task.protocol, data)
    outcomes: list[FilterOutcome] = []
    if task.filtered:
        for judge in filters_of(task.protocol):
            start = process_time()
            verdict = judge.judge(trial)
            seconds = process_time() - start
            match verdict:
                case Accept(value):
                    outcomes.append(FilterOutcome(judge.name, True, "", value, seconds))
                case Reject(reason, value):
                    outcomes.append(FilterOutcome(judge.name, False, reason, value, seconds))
                    return Evaluation(task.index, Status.REJECTED, filters=tuple(outcomes), attempts=task.attempt)
    scores: dict[str, float] = {}
    seconds_of: dict[str, float] = {}
    for anchor in task.protocol.anchors:
        start = process_time()
        training = trial.first if anchor == task.protocol.anchors[0] else trial.training(anchor)
        # A layer that diverges on one anchor is scored 0 there: it may still be the best on another.
        scores[anchor] = training.accuracy(task.split) if training.advance(task.protocol.steps) else 0.0
        seconds_of[anchor] = process_time() - start
    return Evaluation(task.index, Status.SCORED, scores, tuple(outcomes), seconds_of, attempts=task.attempt)
