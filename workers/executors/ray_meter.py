"""Metrics through Ray: each node serves those of its processes to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray.util.metrics import Counter, Gauge, Histogram

from evonas.evolution.executor import Meter
from evonas.workers.executors.metrics import METRICS, MetricKind

_told: dict[tuple[object, ...], float] = {}
"""What each counter of this process was told so far: Ray adds to counters, and two executors share them."""


class RayMeter(Meter):
    """Numbers of `evonas.workers.executors.metrics` as metrics of Ray, which puts ``ray_`` in front of their names."""

    def __init__(self) -> None:
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        self._job = ray.get_runtime_context().get_job_id()  # of each connection to a Ray; it has series of its own

    def record(self, metric: str, value: float, tags: Mapping[str, str]) -> None:
        """See `evonas.evolution.executor.Meter`; KeyError for a metric that is not in the table."""
        instrument = self._made.get(metric) or self._make(metric)
        match instrument:
            case Counter():
                key = (self._job, metric, *sorted(tags.items()))
                if value > _told.get(key, 0.0):  # Ray refuses to add nothing
                    instrument.inc(value - _told.get(key, 0.0), dict(tags))
                    _told[key] = value
            case Gauge():
                instrument.set(value, dict(tags))
            case Histogram():
                instrument.observe(value, dict(tags))

    def _make(self, metric: str) -> Counter | Gauge | Histogram:
        row = METRICS[metric]
        match row.kind:
            case MetricKind.COUNTER:
                self._made[metric] = Counter(row.name, row.meaning, row.tags)
            case MetricKind.GAUGE:
                self._made[metric] = Gauge(row.name, row.meaning, row.tags)
            case MetricKind.HISTOGRAM:
                self._made[metric] = Histogram(row.name, row.meaning, list(row.boundaries), row.tags)
        return self._made[metric]
