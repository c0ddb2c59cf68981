"""Metrics of a search: the table, totals that agree with the store, and the dashboard made for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.evolution.executor import Load, Meter
from evonas.front.api import execute
from evonas.judging.hypervolume import Hypervolume
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings.candidate import BUILDING, FAILED_ATTEMPTS, Status
from evonas.workers.executors.metrics import METRICS, MetricKind, metering
from tests.fakes import ANCHORS, FakeExecutor, config

GRAFANA = Path(__file__).parent.parent / "docs" / "grafana" / "evonas.json"
Labels = tuple[tuple[str, str], ...]


class Notebook(Meter):
    """Keeps what Prometheus would show: totals, last values and counts."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, Labels], float] = {}

    def record(self, metric: str, value: float, tags: Mapping[str, str]) -> None:
        row = METRICS[metric]
        assert set(tags) == set(row.tags), metric
        key = metric, tuple(sorted((k, v) for k, v in tags.items() if k != "run"))
        match row.kind:
            case MetricKind.COUNTER:
                assert value >= self.values.get(key, 0.0)
                self.values[key] = value
            case MetricKind.GAUGE:
                self.values[key] = value
            case MetricKind.HISTOGRAM:
                self.values[key] = self.values.get(key, 0.0) + 1

    def __getitem__(self, name: str) -> float:
        """Return the value of ``metric`` or ``metric label=value``; 0 if nothing was recorded."""
        metric, *labels = name.split(" ")
        return self.values.get((metric, tuple(sorted(tuple(label.split("=")) for label in labels))), 0.0)  # type: ignore[misc]


class Metered(FakeExecutor):
    """An executor with a meter."""

    def __init__(self, capacity: int = 1, seed: int = 0) -> None:
        super().__init__(capacity, seed)
        self.book = Notebook()

    @property
    def meter(self) -> Meter:
        return self.book

    def load(self) -> Load:
        return Load(max(0, len(self.queue) - self.capacity), min(len(self.queue), self.capacity), 1, 2)


def agrees(book: Notebook | Mapping[str, float], store: Store, run: RunInfo) -> None:
    """Assert that totals equal those of the store."""
    summary, anchors = store.summary(run.id), run.config.protocol.anchors
    assert book["evonas_drawn_total"] == summary.candidates
    assert book["evonas_retries_total"] == summary.retries
    for status, count in summary.statuses.items():
        assert book[f"evonas_evaluated_total status={status.value}"] == count
    for name, count in summary.discarded.items():
        assert book[f"evonas_discarded_total filter={name}"] == count
    for name, judged in summary.filters.items():
        assert book[f"evonas_judged_total filter={name}"] == judged.judged
        assert book[f"evonas_rejected_total filter={name}"] == judged.rejected
        # Sums of the same seconds in another order.
        assert book[f"evonas_filter_seconds_total filter={name}"] == pytest.approx(judged.seconds, rel=1e-9)
    for metric, spent in (("evonas_building_seconds_total", BUILDING), ("evonas_lost_seconds_total", FAILED_ATTEMPTS)):
        assert book[metric] == pytest.approx(summary.training.get(spent, 0.0), rel=1e-9)
    scored = [e for e in store.evaluations(run.id) if e.status is Status.SCORED]
    for anchor in anchors:
        seconds = [e.seconds[anchor] for e in store.evaluations(run.id) if anchor in e.seconds]
        assert book[f"evonas_trainings_total anchor={anchor}"] == len(seconds)
        assert book[f"evonas_training_seconds_total anchor={anchor}"] == pytest.approx(sum(seconds), rel=1e-9)
        assert book[f"evonas_best_score anchor={anchor}"] == max((e.scores[anchor] for e in scored), default=0.0)
    assert book["evonas_best_mean_score"] == max((e.mean for e in scored), default=0.0)
    points = [list(e.scores.values()) for e in scored]
    # Volumes are sums of products of a few dozen numbers below 1.
    assert book["evonas_hypervolume"] == pytest.approx(volume(points), rel=1e-9)


def volume(points: list[list[float]]) -> float:
    """By definition: the share of a grid's cells that some point dominates, on the points' own coordinates."""
    if not points:
        return 0.0
    axes = [sorted({0.0, *(p[d] for p in points)}) for d in range(len(points[0]))]
    sizes = np.ones(())
    covered = np.zeros([len(a) - 1 for a in axes], bool)
    for axis in axes:
        sizes = np.multiply.outer(sizes, np.diff(axis))
    for point in points:
        covered[tuple(slice(0, axes[d].index(value)) for d, value in enumerate(point))] = True
    return float((sizes * covered).sum())


def test_totals_agree_with_the_store() -> None:
    store, executor = MemoryStore(), Metered(3)
    run = store.create_run(config(), {})
    execute(run, store, executor, references=("bn-relu",))
    agrees(executor.book, store, run)
    assert executor.book["evonas_evaluated_total status=scored"] > 5
    assert executor.book["evonas_building_seconds_total"] > 1
    assert executor.book["evonas_evaluated_total status=failed"] > 0 < executor.book["evonas_retries_total"]
    assert executor.book[f"evonas_training_seconds anchor={ANCHORS[0]}"] > 5
    references = store.run(run.id).references["bn-relu"]
    for anchor in ANCHORS:
        assert executor.book[f"evonas_reference_score layer=bn-relu anchor={anchor}"] == references[anchor]
    assert executor.book["evonas_queue_length"] == executor.book["evonas_running"] == 0  # at the end
    assert executor.book["evonas_workers state=starting"] == 2


def test_a_resumed_run_starts_with_what_its_store_has() -> None:
    store, first = MemoryStore(), Metered(2)
    run = store.create_run(config(), {})
    execute(run, store, first, [Interrupt(15)], references=("bn-relu",))
    assert 0 < store.summary(run.id).evaluations < 40
    agrees(first.book, store, run)
    second = Metered(1)
    assert metering(store.run(run.id), store, second)
    agrees(second.book, store, run)
    third = Metered(1)
    execute(store.run(run.id), store, third, references=("bn-relu",))
    agrees(third.book, store, run)
    assert third.book["evonas_drawn_total"] == 40


class Interrupt:
    """An observer that interrupts the search like Ctrl-C."""

    def __init__(self, after: int) -> None:
        self.left = after

    def drawn(self, candidate: object) -> None:
        """Nothing."""

    def evaluated(self, candidate: object, evaluation: object) -> None:
        """Counts down."""

    def referenced(self, layer: str, evaluation: object) -> None:
        """Nothing."""

    def turned_away(self, layer: object) -> None:
        """Nothing."""

    def tick(self, pending: int) -> None:
        """After the metrics have seen the same."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_without_a_meter_nothing_is_kept() -> None:
    store, executor = MemoryStore(), FakeExecutor(1)
    run = store.create_run(config(budget=5), {})
    assert metering(run, store, executor) == () and executor.load() == Load()
    execute(run, store, executor, references=())
    assert store.summary(run.id).evaluations == 5


@given(st.lists(st.tuples(*[st.integers(0, 6).map(lambda n: n / 6)] * 3), max_size=12))
def test_the_hypervolume_is_that_of_the_definition(points: list[tuple[float, float, float]]) -> None:
    measured = Hypervolume(3)
    for number, point in enumerate(points):
        measured.add(point)
        # Sums of a few hundred cells.
        assert measured.value == pytest.approx(volume([list(p) for p in points[: number + 1]]), abs=1e-12)


def test_the_table_is_sound() -> None:
    for name, row in METRICS.items():
        assert name == row.name and re.fullmatch(r"evonas_[a-z_]+", name) and row.meaning.endswith(".")
        assert (row.kind is MetricKind.COUNTER) == name.endswith("_total")
        assert bool(row.boundaries) == (row.kind is MetricKind.HISTOGRAM)
        assert list(row.boundaries) == sorted(set(row.boundaries))


def queries(panel: object) -> list[str]:
    """Yield every PromQL expression in a dashboard."""
    if isinstance(panel, list):
        return [query for item in panel for query in queries(item)]
    if not isinstance(panel, dict):
        return []
    own = [panel["expr"]] if "expr" in panel else []
    own += [panel["definition"]] if "definition" in panel else []
    return own + [query for value in panel.values() for query in queries(value)]


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    dashboard = json.loads(GRAFANA.read_text())
    asked: dict[str, set[str]] = {}
    for query in queries(dashboard):
        for metric, labels in re.findall(r"ray_(evonas_\w+)(?:\{([^}]*)\})?", query):
            asked.setdefault(metric, set()).update(re.findall(r"(\w+)\s*=~?", labels))
        for labels in re.findall(r"by \(([^)]*)\)", query):
            used = {label.strip() for label in labels.split(",")} - {"le"}
            (metric,) = set(re.findall(r"ray_(evonas_\w+)", query)) if query.count("ray_evonas") == 1 else (None,)
            if metric is not None:
                asked[metric] |= used
    for metric, labels in asked.items():
        base = re.sub(r"_bucket$", "", metric)
        assert base in METRICS, metric
        assert (base != metric) == (METRICS[base].kind is MetricKind.HISTOGRAM), metric
        assert labels <= {*METRICS[base].tags, "SessionName"}, (metric, labels)
    assert {re.sub(r"_bucket$", "", metric) for metric in asked} == set(METRICS)  # and each is shown
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids)) > 8 and all(panel["title"] for panel in dashboard["panels"])
    assert dashboard["uid"] and dashboard["title"] == "evonas"
