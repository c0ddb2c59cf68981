"""Metrics through Ray: each node serves the metrics of its processes to Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

import ray
from ray.util.metrics import Counter, Gauge, Histogram

from evonas.evolution.executor import Meter
from evonas.workers.executors.metrics import METRICS, MetricKind

_recorded: dict[tuple[object, ...], float] = {}
"""The total of each counter of this process so far: Ray's counters take increments, and two executors share them."""


class RayMeter(Meter):
    """Records the metrics of `evonas.workers.executors.metrics` in Ray, which prefixes their names with ``ray_``."""

    def __init__(self) -> None:
        self._made: dict[str, Counter | Gauge | Histogram] = {}
        # Each connection to Ray has its own series.
        self._job = ray.get_runtime_context().get_job_id()

    def record(self, metric: str, value: float, tags: Mapping[str, str]) -> None:
        """Record the value of a metric. Raises KeyError if the table has no such metric."""
        instrument = self._made.get(metric) or self._make(metric)
        match instrument:
            case Counter():
                key = (self._job, metric, *sorted(tags.items()))
                if value > _recorded.get(key, 0.0):  # Ray refuses an increment of 0
                    instrument.inc(value - _recorded.get(key, 0.0), dict(tags))
                    _recorded[key] = value
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
