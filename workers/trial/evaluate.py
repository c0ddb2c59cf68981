"""The evaluation of a task by a worker: load data, filter, train and score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from time import monotonic, process_time
from typing import TYPE_CHECKING

from evonas.judging.hurdles import Checkpoint, checkpoints
from evonas.language.graph import Graph
from evonas.layers.build_clock import all_seconds, own_seconds
from evonas.layers.layer_factory import LayerFactory
from evonas.layers.modules.module_factory import ModuleFactory
from evonas.settings.candidate import BUILDING, DIVERGED, Accept, Evaluation, FilterOutcome, Reject, Status, Verdict
from evonas.settings.evaluation_protocol import OWN_SCORE
from evonas.settings.objectives import measured_objectives
from evonas.workers.data.batches import crop_size
from evonas.workers.data.data_sets import NO_DATA, load_dataset
from evonas.workers.data.dataset import DataSet
from evonas.workers.trial.measure_filters import measure_filters
from evonas.workers.trial.network_filters import filters_of
from evonas.workers.trial.objective_measures import measure_objective
from evonas.workers.trial.own_loop import SCORE, Report, run_own_loop
from evonas.workers.trial.trial import Trial

if TYPE_CHECKING:
    from evonas.evolution.executor import Task
    from evonas.settings.evaluation_protocol import EvaluationProtocol


def load_data(protocol: EvaluationProtocol) -> DataSet:
    """Load a protocol's data set, and check that the protocol can train on it.

    Raises:
        UsageError: The data set is unknown, its files are missing or invalid, or crops do not fit into its images.
    """
    if protocol.score:
        return NO_DATA
    data = load_dataset(protocol.data, Path(protocol.data_dir) if protocol.data_dir else None, protocol.image_size)
    if data.kind == "images":
        crop_size(data.size, protocol.pad, protocol.crop)
    return data


def less_held_out(data: DataSet, share: float) -> DataSet:
    """Return the data with a share of the training images as validation images, the same ones in every process.

    Raises:
        UsageError: The share leaves no image on one side.
    """
    return data.held_out(share, seed=0)


def evaluate_task(task: Task, data: DataSet, on_stage: Callable[[str], object] = lambda stage: None) -> Evaluation:
    """Judge and score the layer of a task.

    Times are core-seconds of this process, except `wall`, which is wall-clock time. Building kernels is counted
    separately and includes the compiler's time.

    Args:
        task: the candidate, and how to judge it.
        data: the protocol's data set.
        on_stage: called with the name of each filter, anchor and objective before it begins.
    """
    begun, built = monotonic(), all_seconds()
    if task.held_out and not task.protocol.score:
        data = less_held_out(data, task.held_out)
    work = _EvaluationInProgress(task, Trial(_layer_of(task), task.protocol, data), on_stage)
    checkpoints = () if task.measures == "scores" else measure_filters(work.trial, on_stage)
    status = Status.SCORED if task.measures == "filters" else Status.REJECTED
    if task.measures != "filters" and work.passes_filters() and work.scores_anchors():
        work.measure_objectives()
        status = Status.SCORED
    built = all_seconds() - built
    if built > 0.0:
        work.seconds[BUILDING] = built
    return replace(work.result(status), wall=monotonic() - begun, checkpoints=checkpoints)


def _layer_of(task: Task) -> LayerFactory | ModuleFactory:
    if task.module:
        return ModuleFactory(task.module, task.protocol.steps)
    layer = LayerFactory(Graph.from_json(task.graph), start=task.start)
    return layer if task.linear is None else replace(layer, linear=Graph.from_json(task.linear))


def _spent() -> float:
    """Return the core-seconds of this process, without those spent on building kernels."""
    return process_time() - own_seconds()


@dataclass
class _EvaluationInProgress:
    """An evaluation in progress. Each stage returns whether the candidate goes on to the next."""

    task: Task
    trial: Trial
    on_stage: Callable[[str], object]
    outcomes: list[FilterOutcome] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    diverged: list[str] = field(default_factory=list)

    def passes_filters(self) -> bool:
        for judge in filters_of(self.task.protocol, self.task.floors) if self.task.filtered else ():
            self.on_stage(judge.name)
            start = _spent()
            verdict = judge.judge(self.trial)
            if not self._note(judge.name, verdict, _spent() - start):
                return False
        return True

    def scores_anchors(self) -> bool:
        if self.task.protocol.score:
            return self._scores_by_own_loop()
        protocol, hurdles = self.task.protocol, checkpoints(self.task.protocol) if self.task.filtered else ()
        for anchor in protocol.anchors:
            self.on_stage(anchor)
            start = _spent()
            training = self.trial.first if anchor == protocol.anchors[0] else self.trial.training(anchor)
            cleared = True
            for hurdle in (c for c in hurdles if c.anchor == anchor and c.step is not None):
                value = training.train_accuracy() if training.advance(hurdle.step or 0) else 0.0
                cleared = self._clears(hurdle, value)
                if not cleared:
                    break
            if cleared:
                # A layer that diverges on one anchor scores 0 there, because it may still be the best on another.
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

    def _scores_by_own_loop(self) -> bool:
        task, protocol = self.task, self.task.protocol
        self.on_stage(OWN_SCORE)
        start = _spent()
        report = Report(checkpoints(protocol) if task.filtered else (), self._clears)
        split = "held-out" if task.held_out else task.split
        found = run_own_loop(self.trial.layer, protocol, split, report)
        self.seconds[OWN_SCORE] = _spent() - start
        if found is None:
            return False
        self.trial.reported.update(found)
        self.scores[OWN_SCORE] = found[SCORE]
        self.diverged += [] if found[SCORE] else [OWN_SCORE]
        return True

    def measure_objectives(self) -> None:
        protocol = self.task.protocol
        for objective in measured_objectives(protocol.objectives, protocol.anchors, protocol.plugins):
            self.on_stage(objective.name)
            start = _spent()
            self.measures[objective.name] = measure_objective(objective.name, self.trial)
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
            rung=self.task.rung,
        )

    def _clears(self, hurdle: Checkpoint, value: float) -> bool:
        if not isfinite(value):  # a training loop of the user's own may report anything
            return self._note(hurdle.name, Reject(DIVERGED), 0.0)
        behind = hurdle.name in self.task.floors and value < self.task.floors[hurdle.name]
        # The seconds of the training so far are recorded under its anchor.
        return self._note(hurdle.name, Reject("behind", value) if behind else Accept(value), 0.0)

    def _note(self, name: str, verdict: Verdict, seconds: float) -> bool:
        match verdict:
            case Accept(value):
                self.outcomes.append(FilterOutcome(name, True, "", value, seconds))
                return True
            case Reject(reason, value):
                self.outcomes.append(FilterOutcome(name, False, reason, value, seconds))
                return False
