"""Floors that follow from published layers: their values, and runs that measure, record and resume with them."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest

from evonas.db import open_store
from evonas.errors import EvonasError, StorageError, UsageError
from evonas.evolution.executor import Task
from evonas.evolution.loop import Search
from evonas.judging.floors import TurnedAway, floors_for, run_floors, stages, turned_away
from evonas.language.graph import Graph
from evonas.language.zoo import NAMES_BY_KEY
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import RunInfo
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, FilterOutcome, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import FLOOR_LAYERS
from evonas.workers.trial.network_filters import EarlyFilter, QualityFilter, filters_of
from tests.fakes import ANCHORS, FakeExecutor, InterruptedExecutor, config, outcome, table
from tests.test_evolution_faults import Interrupter

PROTOCOL = EvaluationProtocol(
    anchors=ANCHORS,
    floors="published",
    early_steps=(20,),
    early_floors=(0.25,),
    quality_floor=0.5,
    hurdle_steps=(),
)


def measured(
    quality: Sequence[float | None], chance: float = 0.1, images: int = 900
) -> dict[str, Sequence[CheckpointValue]]:
    """What the floor layers have at the two filters; the same at early-20 as at quality."""
    return {
        name: tuple(CheckpointValue(place, value, "", chance, images) for place in ("early-20", "quality"))
        for name, value in zip(FLOOR_LAYERS, quality, strict=True)
    }


def test_a_floor_is_a_share_of_the_way_from_chance_to_the_median() -> None:
    floors = run_floors(PROTOCOL, measured([0.9, 0.2, 0.5, 0.1, 0.7]))
    assert floors == {"early-20": pytest.approx(0.1 + 0.25 * 0.4), "quality": pytest.approx(0.1 + 0.5 * 0.4)}
    assert run_floors(replace(PROTOCOL, floors="absolute"), {}) == {"early-20": 0.25, "quality": 0.5}


def test_a_training_that_diverged_counts_as_nothing_and_a_layer_that_failed_does_not_count() -> None:
    values = measured([None, None, 0.3, 0.5, 0.7])
    assert run_floors(PROTOCOL, values) == {"early-20": pytest.approx(0.15), "quality": pytest.approx(0.2)}
    del values["bn-relu"], values["bn-swish"]
    assert run_floors(PROTOCOL, values) == {"early-20": pytest.approx(0.2), "quality": pytest.approx(0.3)}
    assert run_floors(PROTOCOL, {"dyt": values["gn-relu"]}) is None  # only the floor layers count


@pytest.mark.parametrize("learned", [False, True])
def test_nothing_is_told_within_three_standard_errors(learned: bool) -> None:
    """Of 900 images, the standard error of an accuracy of 0.13 is 0.0112, so 0.1 is 2.7 of them away."""
    reference = 0.14 if learned else 0.13
    floors = run_floors(PROTOCOL, measured([reference] * 5))
    below = 0.1 - 3 * sqrt(0.1 * 0.9 / 900)
    assert floors is not None and floors["quality"] == pytest.approx(0.12 if learned else below)


def test_no_published_layer_falls_where_nothing_can_be_told() -> None:
    """With unbalanced classes they may lie well below chance while they learn, and with many classes at 0."""
    floors = run_floors(PROTOCOL, measured([0.8, 0.85, 0.6, 0.7, None], chance=0.9))
    assert floors is not None and floors["quality"] == pytest.approx(0.6 - 3 * sqrt(0.9 * 0.1 / 900))
    assert run_floors(PROTOCOL, measured([0.0, 0.002, 0.0, 0.0, 0.001], chance=0.001)) == {
        "early-20": 0.0,
        "quality": 0.0,
    }
    floors = run_floors(PROTOCOL, measured([None] * 5))
    assert floors is not None and floors["quality"] == pytest.approx(0.07)


def test_which_filter_turns_a_published_layer_away() -> None:
    floors = {"early-20": 0.2, "quality": 0.3}
    accuracy = [CheckpointValue("early-20", 0.2, "", 0.1, 640), CheckpointValue("quality", 0.25, "", 0.1, 200)]
    signal = CheckpointValue("signal", None)
    fell = turned_away("gn-relu", [signal, *accuracy], PROTOCOL, floors)  # what equals the floor is enough
    assert fell == TurnedAway("gn-relu", "quality", "low accuracy", 0.25, 0.3, "protocol.quality_floor")
    fell = turned_away("gn-relu", [signal, *accuracy], PROTOCOL, {**floors, "early-20": 0.21})
    assert str(fell) == (
        "gn-relu would be turned away by early-20: at chance, 0.2 (the floor is 0.21); "
        "layers like it will not be found; see --set protocol.early_floors"
    )
    faults = {
        "signal": (CheckpointValue("signal", None, "gradients vanish"), "protocol.signal"),
        "stability-5": (CheckpointValue("stability-5", 3e9, "gradient explodes"), "protocol.stability_limit"),
    }
    for name, (fault, setting) in faults.items():
        fell = turned_away("gn-relu", [fault, *accuracy], PROTOCOL, floors)
        assert fell == TurnedAway("gn-relu", name, fault.reason, fault.value, None, setting)
    assert turned_away("gn-relu", accuracy[:1], PROTOCOL, floors) is None


def test_filters_ask_for_the_floors_that_come_with_the_task() -> None:
    quick = replace(PROTOCOL, signal=False, stability_steps=())
    floors = {"early-20": 0.3, "quality": 0.4, "hurdle wide end": 0.9}
    assert filters_of(quick, floors) == [EarlyFilter(20, 0.3), QualityFilter(100, 0.4)]
    absolute = replace(quick, floors="absolute")
    assert filters_of(absolute, {"hurdle wide end": 0.9}) == [EarlyFilter(20, 0.25), QualityFilter(100, 0.5)]
    with pytest.raises(UsageError, match="the floor of the filter quality follows from published layers"):
        floors_for(quick, {"early-20": 0.3})


@pytest.mark.parametrize("changes", [{"early_floors": (1.5,)}, {"quality_floor": 1.01}, {"early_floors": (-0.1,)}])
def test_a_share_is_between_chance_and_what_published_layers_have(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(changes))} is a share from 0, chance, to 1"):
        replace(PROTOCOL, **changes)  # type: ignore[arg-type]
    assert replace(PROTOCOL, floors="absolute", early_floors=(1.5,)).early_floors == (1.5,)  # turns all away, as ever
    with pytest.raises(UsageError, match="floors must be one of absolute, published"):
        replace(PROTOCOL, floors="relative")  # type: ignore[arg-type]


def value_of(graph: str) -> float:
    return hashlib.blake2b(Graph.from_json(graph).key.encode(), person=b"floors").digest()[0] / 255


def judged(task: Task) -> Evaluation:
    """A quality filter that measures a function of the graph; published layers are measured and scored as asked."""
    value = value_of(task.graph)
    if task.filtered:
        if value >= task.floors["quality"]:
            evaluation = outcome(replace(task, filtered=False))
            return replace(evaluation, filters=(FilterOutcome("quality", True, "", value, 0.25),))
        fell = FilterOutcome("quality", False, "low accuracy", value, 0.25)
        return Evaluation(task.index, Status.REJECTED, filters=(fell,), attempts=task.attempt)
    found = (CheckpointValue("early-20", 0.5, "", 0.1, 640), CheckpointValue("quality", value, "", 0.05, 900))
    evaluation = replace(
        outcome(replace(task, measures="scores")), checkpoints=() if task.measures == "scores" else found
    )
    return replace(evaluation, scores={}, filters=()) if task.measures == "filters" else evaluation


SETTINGS = config(protocol=PROTOCOL)
REFERENCES = ("dyt", "bn-relu", "evonorm-s0")


def names_of(tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """The published layers among tasks, and what is measured of each."""
    return [(NAMES_BY_KEY[Graph.from_json(t.graph).key], t.measures) for t in tasks if not t.filtered]


def searched(executor: FakeExecutor, store: Store | None = None) -> tuple[Store, RunInfo]:
    store = store or MemoryStore()
    run = store.create_run(SETTINGS, {})
    Search(run, store, executor, (), REFERENCES).execute()
    return store, store.run(run.id)


@pytest.fixture(scope="module")
def alone() -> list[tuple[object, ...]]:
    found = table(*searched(FakeExecutor(1, judge=judged)))
    fell = [row for row in found if "low accuracy" in str(row[6])]
    assert 5 < len(fell) < len(found) - 5  # so that equality means something
    return found


@pytest.mark.parametrize("capacity", [2, 9])
def test_one_seed_one_search_whatever_the_workers(capacity: int, alone: list[tuple[object, ...]]) -> None:
    executor = FakeExecutor(capacity, 5, judge=judged)
    store, run = searched(executor)
    assert table(store, run) == alone
    floors = run_floors(PROTOCOL, run.checkpoints)
    assert floors is not None and set(floors) == {"early-20", "quality"}
    assert all(task.floors == floors for task in executor.submitted if task.filtered)


def test_the_floor_layers_come_first_and_each_is_trained_once() -> None:
    executor = FakeExecutor(3, 1, judge=judged)
    _, run = searched(executor)
    both, filters = ("bn-relu", "evonorm-s0"), ("bn-swish", "gn-relu", "evonorm-b0")
    expected = [*((name, "both") for name in both), *((name, "filters") for name in filters), ("dyt", "both")]
    assert names_of(executor.submitted) == expected
    assert [task.index for task in executor.submitted[:6]] == [-1, -2, -3, -4, -5, -6]
    assert set(run.references) == set(REFERENCES) and set(run.checkpoints) == {*FLOOR_LAYERS, "dyt"}


def test_absolute_floors_wait_for_nothing_and_measure_the_references_alone() -> None:
    store, executor = (
        MemoryStore(),
        FakeExecutor(2, 1, judge=lambda task: judged(replace(task, floors={"quality": 0.5}))),
    )
    run = store.create_run(replace(SETTINGS, protocol=replace(PROTOCOL, floors="absolute")), {})
    Search(run, store, executor, (), ["bn-relu"]).execute()
    assert names_of(executor.submitted) == [("bn-relu", "both")]
    assert executor.submitted[1].index == 0 and executor.submitted[1].floors == {}
    again = FakeExecutor(1, judge=judged)
    Search(store.run(run.id), store, again, (), ["bn-relu", "dyt"]).execute()
    assert names_of(again.submitted) == [("dyt", "both")]


@pytest.mark.parametrize("after", [1, 4, 20])
@pytest.mark.parametrize("kind", ["memory", "database"])
def test_a_run_that_is_interrupted_trains_no_layer_again(
    after: int, kind: str, tmp_path: Path, alone: list[tuple[object, ...]]
) -> None:
    with MemoryStore() if kind == "memory" else open_store(str(tmp_path / "runs.db")) as store:
        _, run = searched(InterruptedExecutor(after, 2, 3, judged), store)
        assert (len(run.checkpoints) < 5) is (after < 5)
        assert (list(store.candidates(run.id)) == []) is (after < 5)
        again = FakeExecutor(3, 8, judge=judged)
        Search(run, store, again, (), REFERENCES).execute()
        missing = {name for name in FLOOR_LAYERS if name not in run.checkpoints}
        assert missing <= {name for name, _ in names_of(again.submitted)} <= missing | {"dyt"}
        assert table(store, store.run(run.id)) == alone


_KILLED = """
import os, signal, sys
from evonas.db import open_store
from evonas.evolution.loop import Search
from tests.fakes import InterruptedExecutor
from tests.test_floors import REFERENCES, judged

class Killed(InterruptedExecutor):
    def poll(self, timeout):
        try:
            return super().poll(timeout)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGKILL)

with open_store(sys.argv[1]) as store:
    Search(store.run(1), store, Killed(int(sys.argv[2]), 2, 3, judged), (), REFERENCES).execute()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no such signal")
def test_a_run_that_is_killed_while_it_measures_has_the_same_candidates(
    tmp_path: Path, alone: list[tuple[object, ...]]
) -> None:
    path = str(tmp_path / "runs.db")
    with open_store(path) as store:
        store.create_run(SETTINGS, {})
    counts = []
    for after in (2, 2, 6):
        command = [sys.executable, "-c", _KILLED, path, str(after)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with open_store(path) as store:
            counts.append((len(store.run(1).checkpoints), len(list(store.candidates(1)))))
    measured, drawn = zip(*counts, strict=True)
    assert 0 < measured[0] < measured[1] < 5 <= measured[2] and drawn[1] == 0 < drawn[2] < SETTINGS.budget, counts
    with open_store(path) as store:
        Search(store.run(1), store, FakeExecutor(3, 8, judge=judged), (), REFERENCES).execute()
        assert table(store, store.run(1)) == alone


def test_a_kill_between_the_two_records_of_a_layer_leaves_its_scores_to_be_made() -> None:
    store = MemoryStore()
    run = store.create_run(SETTINGS, {})
    value = CheckpointValue("quality", 0.5, "", 0.05, 900)
    store.record_checkpoint_values(run.id, "bn-relu", [replace(value, checkpoint="early-20"), value])
    executor = FakeExecutor(1, judge=judged)
    Search(store.run(run.id), store, executor, (), ["bn-relu"]).execute()
    tasks = names_of(executor.submitted)
    assert tasks[-1] == ("bn-relu", "scores") and {name for name, _ in tasks[:4]} == {*FLOOR_LAYERS} - {"bn-relu"}


def failing(*layers: str) -> FakeExecutor:
    def judge(task: Task) -> Evaluation:
        if not task.filtered and NAMES_BY_KEY[Graph.from_json(task.graph).key] in layers:
            return Evaluation(task.index, Status.FAILED, reason="out of memory", attempts=task.attempt)
        return judged(task)

    return FakeExecutor(2, 1, judge)


def test_a_floor_layer_that_failed_stays_out_of_the_floors_of_the_run() -> None:
    """Otherwise candidates of later sessions would have other floors."""
    store, run = searched(failing("gn-relu", "bn-relu"))
    assert set(run.checkpoints) == {*FLOOR_LAYERS, "dyt"} - {"gn-relu", "bn-relu"}
    longer = replace(run, config=replace(run.config, budget=50))
    executor = FakeExecutor(2, 1, judge=judged)
    Search(longer, store, executor, (), REFERENCES).execute()
    assert names_of(executor.submitted) == [("bn-relu", "scores")]
    floors = run_floors(PROTOCOL, run.checkpoints)
    assert len(executor.submitted) == 11 and all(t.floors == floors for t in executor.submitted if t.filtered)
    assert store.run(run.id).checkpoints == run.checkpoints


def test_a_run_without_any_floor_layer_ends_with_the_reason() -> None:
    store, executor = MemoryStore(), failing(*FLOOR_LAYERS)
    run = store.create_run(SETTINGS, {})
    with pytest.raises(EvonasError, match=r"none of the published layers .* could be trained.*: out of memory"):
        Search(run, store, executor).execute()
    assert list(store.candidates(run.id)) == [] and len(executor.submitted) == 2 * len(FLOOR_LAYERS)
    _, done = searched(FakeExecutor(1, judge=judged), store)
    with pytest.raises(StorageError, match="no record of the published layers"):
        Search(replace(done, checkpoints={}), store, executor)


class Hears(Interrupter):
    """Notes which published layers would be turned away, and how many candidates had been drawn by then."""

    def __init__(self) -> None:
        super().__init__("never", 0)
        self.heard: list[TurnedAway] = []
        self.drawn_before: list[int] = []
        self.count = 0

    def drawn(self, candidate: object) -> None:
        self.count += 1

    def turned_away(self, layer: TurnedAway) -> None:
        self.heard.append(layer)
        self.drawn_before.append(self.count)


def test_a_published_layer_that_would_be_turned_away_is_told_before_the_first_candidate() -> None:
    store, hears = MemoryStore(), Hears()
    run = store.create_run(SETTINGS, {})
    Search(run, store, FakeExecutor(2, 1, judge=judged), [hears]).execute()
    found = store.run(run.id)
    floors = run_floors(PROTOCOL, found.checkpoints) or {}
    below = {name for name, values in found.checkpoints.items() if (values[-1].value or 0.0) < floors["quality"]}
    assert below and {one.layer for one in hears.heard} == below and len(hears.heard) == len(below)
    assert {one.filter for one in hears.heard} == {"quality"} and set(hears.drawn_before) == {0}
    again = Hears()  # a later session says so again
    Search(found, store, FakeExecutor(2, 1, judge=judged), [again]).execute()
    assert again.heard == sorted(hears.heard, key=lambda one: one.layer)


def test_stages_are_the_filters_with_a_floor_before_the_end_of_training() -> None:
    late = replace(PROTOCOL, early_steps=(20, 60), early_floors=(0.1, 0.2), steps=60)
    assert [(stage.name, stage.step, stage.given) for stage in stages(late)] == [
        ("early-20", 20, 0.1),
        ("quality", 60, 0.5),
    ]
