"""Ray's metrics endpoint while a search runs: what it shows is what the database holds."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evonas.db.connect import open_store
from evonas.evolution.executor import Executor
from evonas.front.api import execute
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.workers.data.data_sets import load_dataset
from evonas.workers.executors.metrics import METRICS, metering
from tests.fakes import config
from tests.test_executors import PATIENCE, TINY
from tests.test_metrics import Interrupt, agrees

BUDGET, LOOK_AT = 12, 5


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """One worker on a Ray of this module's own, whose metrics are at most a fifth of a second old."""
    from evonas.workers.executors.ray_executor import RayExecutor

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "200")  # 10 seconds by default
        with RayExecutor(load_dataset("digits"), workers=1) as made:
            yield made


def scraped() -> dict[str, float]:
    """The node's Prometheus text, as ``metric label=value``, ours alone."""
    import ray

    node = ray.nodes()[0]
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for metric, labels, value in re.findall(r"^ray_(evonas_\w+)\{(.*)\} (\S+)$", text, re.M):
        base = re.sub(r"_(bucket|count|sum)$", "", metric)
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        own = [f"{name}={pairs[name]}" for name in METRICS[base].labels if name in pairs]
        found[" ".join([metric, *own])] = float(value)
    return found


class Zero(dict[str, float]):
    """Prometheus knows no series before something was counted."""

    def __missing__(self, key: str) -> float:
        return 0.0


def wait_until_agreed(store: Store, run: RunInfo, executor: Executor) -> Zero:
    """Scrapes until all is the store's; the last difference if that takes too long. Meanwhile time goes by."""
    end = time.monotonic() + PATIENCE / 2
    (ours,) = metering(run, store, executor)
    while True:
        ours.tick(0)
        seen = Zero(scraped())
        try:
            agrees(seen, store, run)
            for layer, scores in run.references.items():
                for anchor, score in scores.items():
                    assert seen[f"evonas_reference_score layer={layer} anchor={anchor}"] == score
            return seen
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_the_endpoint_shows_what_the_database_holds(executor: Executor, tmp_path: Path) -> None:
    """In the middle, from inside the run; after Ctrl-C and a resume; and at the end."""
    looked: list[Zero] = []
    with open_store(str(tmp_path / "runs.db")) as store:
        settings = replace(config(budget=BUDGET), protocol=replace(TINY, signal=False, stability_steps=()))
        run = store.create_run(settings, {})

        class Look(Interrupt):
            def tick(self, pending: int) -> None:
                if store.summary(run.id).evaluations >= LOOK_AT and not looked:
                    looked.append(wait_until_agreed(store, store.run(run.id), executor))
                    raise KeyboardInterrupt

        execute(run, store, executor, [Look(0)], references=("bn-relu",))
        middle = looked[0]
        assert LOOK_AT <= sum(v for name, v in middle.items() if name.startswith("evonas_evaluated")) < BUDGET
        assert middle["evonas_workers state=busy"] + middle["evonas_workers state=idle"] == 1
        # The same process goes on in the same series: what the first session counted is not counted again.
        execute(store.run(run.id), store, executor, references=("bn-relu",))
        end = wait_until_agreed(store, store.run(run.id), executor)
        assert store.summary(run.id).evaluations == BUDGET == end["evonas_drawn_total"]
        assert end["evonas_evaluated_total status=scored"] > 0
        assert list(store.run(run.id).references) == ["bn-relu"]
        assert (
            end["evonas_training_seconds_count anchor=resnet-small"]
            == end["evonas_trainings_total anchor=resnet-small"]
        )
