"""`search`, `resume` and `execute`: which run is continued, who executes it, and which settings workers get."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

import evonas
from evonas.errors import UsageError
from evonas.evolution.executor import Executor
from evonas.evolution.gc_pause import rare_collections
from evonas.front import api
from evonas.language.graph import Graph
from evonas.records.coordinator import Coordinator
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunStatus
from evonas.reruns.verdict_words import UNVERIFIED
from evonas.settings.candidate import Candidate, Evaluation
from evonas.setup.assemble import configure
from tests.fakes import FakeExecutor, config
from tests.store_samples import CONFIG
from tests.test_evolution import searched
from tests.test_evolution_faults import Interrupter

SETTINGS = config(budget=6)


class Watch(Interrupter):
    """Looks at the store while candidates are drawn."""

    def __init__(self, store: MemoryStore, run_id: int) -> None:
        super().__init__("drawn", 5)
        self.store, self.run_id, self.seen = store, run_id, 0

    def drawn(self, candidate: Candidate) -> None:
        self.seen += 1
        assert self.store.run(self.run_id).status is RunStatus.RUNNING
        with pytest.raises(UsageError, match=f"run {self.run_id} has a coordinator"):
            evonas.resume(self.run_id, storage=self.store, executor=FakeExecutor(1))
        super().drawn(candidate)


def test_a_run_at_work_says_so_and_has_one_coordinator() -> None:
    store = MemoryStore()
    run = store.create_run(SETTINGS, {})
    for expected in (RunStatus.INTERRUPTED, RunStatus.FINISHED):
        watch = Watch(store, run.id)
        found = api.execute(store.run(run.id), store, FakeExecutor(1), [watch], references=())
        assert watch.seen > 0 and found.run.status is expected and store.coordinator(run.id) is None
    assert found.summary.evaluations == 6 and f"run {run.id}, finished: 6 candidates judged" in str(found)


def test_a_run_goes_on_as_it_is_now_and_not_as_it_was_looked_at() -> None:
    """Another coordinator has scored a reference in the meantime, and spent time."""
    store = MemoryStore()
    run = store.create_run(SETTINGS, {})
    api.execute(run, store, FakeExecutor(1), references=("bn-relu",))
    before, executor = store.run(run.id), FakeExecutor(1)
    api.execute(run, store, executor, references=("bn-relu",))
    assert executor.submitted == []
    assert store.run(run.id).elapsed > before.elapsed > 0


def test_the_newest_run_is_resumed_and_its_deadline_is_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, dict[str, Any]]] = []

    def make(executor: Executor, protocol: object, **settings: Any) -> Executor:
        asked.append((protocol, settings))
        return executor

    warned: list[int] = []
    monkeypatch.setattr(api, "make_executor", make)
    monkeypatch.setattr(api, "environment", lambda: {"torch": "1.13"})
    monkeypatch.setattr(api, "warn_of_changes", lambda run: warned.append(run.id))
    store = MemoryStore()
    for seed, deadline in ((1, 10.0), (2, 20.0), (3, 30.0)):
        store.create_run(replace(SETTINGS, seed=seed, deadline=deadline), {})
    protocol = store.run(2).config.protocol
    assert evonas.resume(storage=store, executor=FakeExecutor(1), references=()).run_id == 3
    assert evonas.resume(2, storage=store, executor=FakeExecutor(1), references=()).run.config.seed == 2
    assert asked == [(protocol, {"deadline": 30.0}), (protocol, {"deadline": 20.0})]
    assert [store.run(i).status for i in (1, 2, 3)] == [RunStatus.RUNNING, RunStatus.FINISHED, RunStatus.FINISHED]
    found = evonas.search(
        budget=1, storage=store, executor=FakeExecutor(1), deadline=40.0, seed=4, references=(), verify=False
    )
    assert asked[-1][1]["deadline"] == 40.0 and found.run_id == 4
    # Networks and batches are drawn from the run's seed too, and all of it is recorded.
    assert (found.run.config.seed, found.run.config.protocol.seed) == (4, 4)
    assert found.run.environment == {"torch": "1.13", "chance": "0.0526316"} and warned == [3, 2]


def test_a_seed_that_comes_twice_is_judged_once() -> None:
    """Two seeds are the same if their graphs are, or their functions up to the sign."""
    named = configure(seed_graphs=["tanh(x)", "tanh(x)", "-tanh(x)", "tanh(x + x)"]).seed_graphs
    assert [Graph.from_json(text) for text in named] == [Graph.parse("tanh(x)"), Graph.parse("tanh(x + x)")]
    with pytest.raises(UsageError, match="the seed graph v0 cannot be used"):
        configure(seed_graphs=["tanh(x)", "v0"])


def test_workers_are_not_started_for_a_run_that_another_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: object, **settings: object) -> Executor:
        raise AssertionError

    monkeypatch.setattr(api, "make_executor", start)
    store = MemoryStore()
    run = store.create_run(CONFIG, {})
    store.claim(run.id, Coordinator.here())
    with pytest.raises(UsageError, match="has a coordinator"):
        evonas.resume(storage=store)


def test_an_executor_is_closed_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(FakeExecutor):
        def poll(self, timeout: float) -> Sequence[Evaluation]:
            raise ZeroDivisionError

    monkeypatch.setattr(api, "environment", dict)  # collecting it takes a while
    for executor in (FakeExecutor(1), Broken(1)):
        with suppress(ZeroDivisionError):
            evonas.search(budget=2, executor=executor, references=(), verify=False)
        assert executor.closed == 1


def test_a_search_leaves_the_garbage_collector_as_it_was() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with pytest.raises(ZeroDivisionError), rare_collections():
        assert gc.get_threshold()[0] > before[0] and gc.get_freeze_count() > frozen
        raise ZeroDivisionError
    assert gc.get_threshold() == before and gc.get_freeze_count() == 0


@pytest.mark.parametrize("run_id", ["last", "1", 1.0, True])
@pytest.mark.parametrize("call", [evonas.resume, evonas.rerank])
def test_a_run_is_named_by_its_number(call: Any, run_id: object) -> None:
    """What is not a number is a wrong argument, and not a damaged database."""
    store = MemoryStore()
    store.create_run(CONFIG, {})
    with pytest.raises(UsageError, match="run_id must be the number of a run, or None for the latest, not "):
        call(run_id, storage=store, executor=FakeExecutor())


def test_anchors_are_several() -> None:
    with pytest.raises(UsageError, match="anchors must be a tuple of names, not 'resnet-small'"):
        evonas.EvaluationProtocol(anchors="resnet-small")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def found() -> evonas.Result:
    settings = config(budget=40, strategy="families", rungs=(2,), promotion=0.3)
    store, run = searched(settings, FakeExecutor(2))
    return evonas.Result(store, run.id)


def test_a_result_converts_to_a_table_of_pandas(found: evonas.Result) -> None:
    table, best = found.to_pandas(5), found.best(5)
    assert list(table["id"]) == [row.id for row in best] and list(table["mean"]) == [row.mean for row in best]
    longer = f"{2 * found.run.config.protocol.steps} steps"
    assert {*found.run.config.protocol.anchors, "expression", "name", "family", longer} <= set(table.columns)
    assert table[longer].notna().any()


def test_without_pandas_a_result_says_what_to_install(found: evonas.Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        found.to_pandas()


def test_a_notebook_shows_a_result_as_a_table_and_a_graph_as_its_formula(found: evonas.Result) -> None:
    page, best = found._repr_html_(), found.best()
    rows = ElementTree.fromstring(page).findall("table/tr")
    assert [row[0].findtext("code") for row in rows[1:]] == [row.id for row in best]
    assert rows[0][1].text == "expression" and rows[1][1].findtext("code") == best[0].expression
    assert UNVERIFIED in page
    graph = best[0].graph
    assert graph._repr_latex_() == f"$\\displaystyle {graph.latex()}$"
