"""What a worker does with a task: build, filter, train, score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING

from evonas.judging.hurdles import Checkpoint, checkpoints
from evonas.language.graph import Graph
from evonas.layers.build_clock import all_seconds, own_seconds
from evonas.layers.layer_factory import LayerFactory
from evonas.settings.candidate import BUILDING, Accept, Evaluation, FilterOutcome, Reject, Status, Verdict
from evonas.settings.objectives import measured
from evonas.workers.data.batches import crop_size
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.network_filters import filters_of
from evonas.workers.trial.objective_measures import measure
from evonas.workers.trial.trial import Trial

if TYPE_CHECKING:
    from evonas.evolution.executor import Task
    from evonas.settings.evaluation_protocol import EvaluationProtocol


def load_data(protocol: EvaluationProtocol) -> DataSet:
    """The protocol's data set, once it is known that it can be trained on as the protocol wants.

    Raises:
        UsageError: when it is unknown, its files are missing or not what they should be, or crops do not fit
            into its images.
    """
    data = load_dataset(protocol.data, Path(protocol.data_dir) if protocol.data_dir else None, protocol.image_size)
    crop_size(data.size, protocol.pad, protocol.crop)
    return data


def less_held_out(data: DataSet, share: float) -> DataSet:
    """The data with a share of the training split for validation: the same images for everyone.

    Raises:
        UsageError: when one side would be empty.
    """
    return data.held_out(share, seed=0)


def evaluate(task: Task, data: DataSet, at: Callable[[str], object] = lambda stage: None) -> Evaluation:
    """Judges and scores the task's layer.

    Times are core-seconds of this process, less what went into kernels, which is counted apart and includes the
    compiler's; `wall` alone is wall time.

    Args:
        task: what to do.
        data: the protocol's data set.
        at: told of each filter, anchor and objective when its turn comes.
    """
    begun, built = monotonic(), all_seconds()
    if task.held_out:
        data = less_held_out(data, task.held_out)
    layer = LayerFactory(Graph.from_json(task.graph))
    if task.linear is not None:
        layer = LayerFactory(layer.graph, Graph.from_json(task.linear))
    work = _Work(task, Trial(layer, task.protocol, data), at)
    status = Status.REJECTED
    if work.passes_filters() and work.scores_anchors():
        work.measures_objectives()
        status = Status.SCORED
    built = all_seconds() - built
    if built > 0.0:
        work.seconds[BUILDING] = built
    return replace(work.result(status), wall=monotonic() - begun)


def _spent() -> float:
    """Core-seconds of this process, those on kernels left out."""
    return process_time() - own_seconds()


@dataclass
class _Work:
    """An evaluation in progress. Each step answers whether the candidate goes on to the next."""

    task: Task
    trial: Trial
    at: Callable[[str], object]
    outcomes: list[FilterOutcome] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)

    def passes_filters(self) -> bool:
        for judge in filters_of(self.task.protocol) if self.task.filtered else ():
            self.at(judge.name)
            start = _spent()
            verdict = judge.judge(self.trial)
            if not self._note(judge.name, verdict, _spent() - start):
                return False
        return True

    def scores_anchors(self) -> bool:
        protocol, hurdles = self.task.protocol, checkpoints(self.task.protocol) if self.task.filtered else ()
        for anchor in protocol.anchors:
            self.at(anchor)
            start = _spent()
            training = self.trial.first if anchor == protocol.anchors[0] else self.trial.training(anchor)
            cleared = True
            for hurdle in (c for c in hurdles if c.anchor == anchor and c.step is not None):
                value = training.train_accuracy() if training.advance(hurdle.step or 0) else 0.0
                cleared = self._clears(hurdle, value)
                if not cleared:
                    break
            if cleared:
                # A layer that diverges on one anchor is scored 0 there: it may still be the best on another.
                finite = training.advance(protocol.steps)
                score = training.accuracy(self.task.split) if finite else 0.0
                self.diverged += [] if finite else [anchor]
                self.scores[anchor] = score
                end = Checkpoint(anchor, None)
                cleared = end not in hurdles or self._clears(end, score)
            self.seconds[anchor] = _spent() - start
            if not cleared:
                return False
        return True

    def measures_objectives(self) -> None:
        for objective in measured(self.task.protocol.objectives, self.task.protocol.anchors):
            self.at(objective.name)
            start = _spent()
            self.measures[objective.name] = measure(objective.name, self.trial)
            self.seconds[objective.name] = _spent() - start

    def result(self, status: Status) -> Evaluation:
        scored = status is Status.SCORED
        return Evaluation(
            self.task.index,
            status,
            self.scores if scored else {},
            self.measures,
            tuple(self.outcomes),
            self.seconds,
            reason=f"diverged on {', '.join(self.diverged)}" if scored and self.diverged else "",
            attempts=self.task.attempt,
        )

    def _clears(self, hurdle: Checkpoint, value: float) -> bool:
        behind = hurdle.name in self.task.floors and value < self.task.floors[hurdle.name]
        # The training that led here is accounted for under its anchor.
        return self._note(hurdle.name, Reject("behind", value) if behind else Accept(value), 0.0)

    def _note(self, name: str, verdict: Verdict, seconds: float) -> bool:
        match verdict:
            case Accept(value):
                self.outcomes.append(FilterOutcome(name, True, "", value, seconds))
                return True
            case Reject(reason, value):
                self.outcomes.append(FilterOutcome(name, False, reason, value, seconds))
                return False
