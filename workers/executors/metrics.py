"""Metrics of a running search for monitoring from outside: their table, and the observer that records them.

Counters hold the totals of the run, not of the process: a resumed run starts from the totals in its store, so the
counters agree with the database at any time. Histograms hold the values of this session only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from evonas.judging.hypervolume import Hypervolume
from evonas.settings.candidate import BUILDING, FAILED_ATTEMPTS, Candidate, Evaluation, Status

if TYPE_CHECKING:
    from evonas.evolution.executor import Executor, Meter
    from evonas.evolution.observer import Observer
    from evonas.judging.floors import TurnedAway
    from evonas.records.run_info import RunInfo
    from evonas.records.store import Store


class MetricKind(Enum):
    """The kind of a metric: a running total, a current value, or a distribution of values."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Attributes:
        name: the name in Prometheus, without the prefix ``ray_`` that Ray adds.
        kind: the kind of the metric.
        meaning: a description in one sentence.
        labels: names of its labels, in addition to the run.
        boundaries: boundaries of a histogram's buckets, in increasing order.
    """

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...] = ()
    boundaries: tuple[float, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """All labels of the metric, including the run."""
        return ("run", *self.labels)


_ROWS = (
    Metric("evonas_drawn_total", MetricKind.COUNTER, "Candidates drawn."),
    Metric("evonas_discarded_total", MetricKind.COUNTER, "Proposals that a cheap filter discarded.", ("filter",)),
    Metric("evonas_judged_total", MetricKind.COUNTER, "Candidates that a filter on the workers judged.", ("filter",)),
    Metric(
        "evonas_rejected_total", MetricKind.COUNTER, "Candidates that a filter on the workers rejected.", ("filter",)
    ),
    Metric("evonas_filter_seconds_total", MetricKind.COUNTER, "Core-seconds spent in a filter.", ("filter",)),
    Metric(
        "evonas_evaluated_total",
        MetricKind.COUNTER,
        "Evaluated candidates by status: scored, rejected, failed.",
        ("status",),
    ),
    Metric("evonas_retries_total", MetricKind.COUNTER, "Attempts at a candidate after its first."),
    Metric(
        "evonas_trainings_total",
        MetricKind.COUNTER,
        "Trainings on an anchor, complete or stopped at a hurdle.",
        ("anchor",),
    ),
    Metric("evonas_training_seconds_total", MetricKind.COUNTER, "Core-seconds of those trainings.", ("anchor",)),
    Metric(
        "evonas_training_seconds",
        MetricKind.HISTOGRAM,
        "Core-seconds of a training on an anchor; Ray's sum of them is approximate, the counter is exact.",
        ("anchor",),
        (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0),
    ),
    Metric(
        "evonas_building_seconds_total", MetricKind.COUNTER, "Core-seconds of building kernels, including the compiler."
    ),
    Metric("evonas_lost_seconds_total", MetricKind.COUNTER, "Seconds spent in failed attempts."),
    Metric("evonas_queue_length", MetricKind.GAUGE, "Tasks that are waiting for a worker."),
    Metric("evonas_running", MetricKind.GAUGE, "Tasks that are running on workers."),
    Metric(
        "evonas_workers",
        MetricKind.GAUGE,
        "Workers by state: busy, idle, or starting, which includes waiting for resources.",
        ("state",),
    ),
    Metric("evonas_best_score", MetricKind.GAUGE, "The highest validation accuracy on an anchor.", ("anchor",)),
    Metric("evonas_best_mean_score", MetricKind.GAUGE, "The highest mean over the anchors."),
    Metric(
        "evonas_hypervolume", MetricKind.GAUGE, "Share of the cube of accuracies that the scored candidates dominate."
    ),
    Metric(
        "evonas_reference_score",
        MetricKind.GAUGE,
        "Validation accuracy of a published layer under the run's protocol.",
        ("layer", "anchor"),
    ),
)

METRICS: Mapping[str, Metric] = MappingProxyType({row.name: row for row in _ROWS})
"""The metrics, by name."""


def metering(run: RunInfo, store: Store, executor: Executor) -> Sequence[Observer]:
    """Return the observer that records the metrics of a run, or nothing if the executor has no meter."""
    return () if executor.meter is None else (MetricsObserver(run, store, executor, executor.meter),)


class MetricsObserver:
    """An observer of a search that records its metrics in a meter.

    Args:
        run: the run that is being executed.
        store: the store of the run, whose totals the counters start from.
        executor: the executor whose queue and workers are measured.
        meter: the meter that records the values.
    """

    def __init__(self, run: RunInfo, store: Store, executor: Executor, meter: Meter) -> None:
        self._run, self._executor, self._meter = str(run.id), executor, meter
        self._gauges: dict[tuple[str, tuple[str, ...]], tuple[float, Mapping[str, str]]] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}
        self._best: dict[str, float] = {}
        self._best_mean: float | None = None
        self._volume = Hypervolume(len(run.config.protocol.anchors))
        self._anchors = run.config.protocol.anchors
        for candidate in store.candidates(run.id):
            self.drawn(candidate)
        for evaluation in store.evaluations(run.id):
            self._count(evaluation)
        for layer, scores in run.references.items():
            self._record_reference(layer, scores)
        self._show_best()

    def drawn(self, candidate: Candidate) -> None:
        """Count a candidate, and the proposals that were discarded before it."""
        self._add("evonas_drawn_total", 1)
        for name, count in candidate.discarded.items():
            self._add("evonas_discarded_total", count, filter=name)

    def evaluated(self, candidate: Candidate, evaluation: Evaluation) -> None:
        """Count an evaluation, and update the best scores."""
        self._count(evaluation)
        for anchor in self._anchors:
            if anchor in evaluation.seconds:
                self._record("evonas_training_seconds", evaluation.seconds[anchor], anchor=anchor)
        self._show_best()

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """Record the scores of a published layer."""
        self._record_reference(layer, evaluation.scores)

    def turned_away(self, layer: TurnedAway) -> None:
        """Record nothing of a published layer that a filter would reject."""

    def tick(self, pending: int) -> None:
        """Record the executor's load, and repeat all gauges."""
        load = self._executor.load()
        self._set("evonas_queue_length", load.queued)
        self._set("evonas_running", load.running)
        for state, count in (("busy", load.running), ("idle", load.idle), ("starting", load.starting)):
            self._set("evonas_workers", count, state=state)
        # Ray drops a gauge once it has reported it, so that gauges of dead processes disappear.
        for (metric, _), (value, labels) in self._gauges.items():
            self._meter.record(metric, value, {"run": self._run, **labels})

    def _count(self, evaluation: Evaluation) -> None:
        self._add("evonas_evaluated_total", 1, status=evaluation.status.value)
        self._add("evonas_retries_total", evaluation.attempts - 1)
        for outcome in evaluation.filters:
            self._add("evonas_judged_total", 1, filter=outcome.name)
            self._add("evonas_rejected_total", 0 if outcome.accepted else 1, filter=outcome.name)
            self._add("evonas_filter_seconds_total", outcome.seconds, filter=outcome.name)
        for name, seconds in evaluation.seconds.items():
            if name == FAILED_ATTEMPTS:
                self._add("evonas_lost_seconds_total", seconds)
            elif name == BUILDING:
                self._add("evonas_building_seconds_total", seconds)
            elif name in self._anchors:
                self._add("evonas_trainings_total", 1, anchor=name)
                self._add("evonas_training_seconds_total", seconds, anchor=name)
        if evaluation.status is Status.SCORED:
            for anchor, score in evaluation.scores.items():
                self._best[anchor] = max(score, self._best.get(anchor, 0.0))
            self._best_mean = max(evaluation.mean, self._best_mean or 0.0)
            self._volume.add(tuple(evaluation.scores.values()))

    def _show_best(self) -> None:
        for anchor, score in self._best.items():
            self._set("evonas_best_score", score, anchor=anchor)
        if self._best_mean is not None:
            self._set("evonas_best_mean_score", self._best_mean)
            self._set("evonas_hypervolume", self._volume.value)

    def _record_reference(self, layer: str, scores: Mapping[str, float]) -> None:
        for anchor, score in scores.items():
            self._set("evonas_reference_score", score, layer=layer, anchor=anchor)

    def _add(self, metric: str, amount: float, **labels: str) -> None:
        if amount:
            key = metric, tuple(labels.values())
            self._totals[key] = self._totals.get(key, 0.0) + amount
            self._record(metric, self._totals[key], **labels)

    def _set(self, metric: str, value: float, **labels: str) -> None:
        self._gauges[metric, tuple(labels.values())] = value, labels
        self._record(metric, value, **labels)

    def _record(self, metric: str, value: float, **labels: str) -> None:
        self._meter.record(metric, value, {"run": self._run, **labels})
