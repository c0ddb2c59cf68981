"""The contract of stores, tested on every implementation."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evonas.db import open_store
from evonas.errors import StorageError, UsageError
from evonas.language.graph import Graph
from evonas.records import coordinator as coordinators
from evonas.records.coordinator import Coordinator
from evonas.records.memory_store import MemoryStore
from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import FilterSummary, RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import LONGER, Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.objectives import Objective, objective_record
from tests.postgres import emptied
from tests.store_samples import CONFIG, EXPRESSIONS, beside_another, candidate, failed, rejected, retraining, scored


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store
    if request.param == "memory":
        opened = MemoryStore()
    elif request.param == "sqlite":
        opened = open_store(str(tmp_path / "runs.db"))
    else:
        opened = open_store(emptied(request.getfixturevalue("postgres")))
    with opened:
        yield opened


@pytest.fixture
def run(store: Store) -> Iterator[int]:
    """The second of two runs."""
    with beside_another(store, {"torch": "2.11", "cpu": "two cores"}) as run_id:
        yield run_id


def test_a_new_run_is_running_and_reads_back_as_it_was_created(store: Store) -> None:
    before = datetime.now(UTC)
    first, second = store.create_run(CONFIG, {"torch": "2.11"}), store.create_run(CONFIG, {})
    assert [first.id, second.id] == [1, 2]
    assert before <= first.created <= datetime.now(UTC)
    assert (first.status, first.elapsed, first.references) == (RunStatus.RUNNING, 0.0, {})
    assert first.config == CONFIG
    assert first.environment == {"torch": "2.11"}
    assert store.run(1) == first
    assert list(store.runs()) == [first, second]
    assert store.run(1).created.tzinfo is not None


def test_a_store_without_runs_says_so(store: Store) -> None:
    assert list(store.runs()) == []
    with pytest.raises(UsageError, match="no runs here yet"):
        store.run(1)


@pytest.mark.parametrize("run_id", [3, 0, -1, 2**31, 10**30])
def test_every_method_refuses_a_run_that_is_not_there(store: Store, run: int, run_id: int) -> None:
    calls = (
        lambda: store.run(run_id),
        lambda: store.record(run_id, candidates=[candidate(0)]),
        lambda: store.claim(run_id, Coordinator.here()),
        lambda: store.renew(run_id, ELSEWHERE),
        lambda: store.release(run_id, ELSEWHERE),
        lambda: store.coordinator(run_id),
        lambda: store.record_reference(run_id, "bn-relu", {"resnet-small": 0.7}),
        lambda: store.record_checkpoint_values(run_id, "bn-relu", []),
        lambda: store.candidates(run_id),
        lambda: store.candidate(run_id, 0),
        lambda: list(store.candidate_keys(run_id)),
        lambda: list(store.endings(run_id, 5)),
        lambda: store.unevaluated(run_id),
        lambda: store.newest_scored(run_id, 5, 5),
        lambda: store.filter_values(run_id, "signal", 5, 5),
        lambda: store.evaluations(run_id),
        lambda: store.evaluation(run_id, 0),
        lambda: store.pairs(run_id, []),
        lambda: store.best(run_id, 5),
        lambda: store.objectives(run_id, ("anchors",)),
        lambda: store.summary(run_id),
        lambda: store.record_retraining(run_id, retraining("bn-relu")),
        lambda: store.retrainings(run_id),
        lambda: store.rung_trainings(run_id),
    )
    for call in calls:
        with pytest.raises(UsageError, match=rf"no run {run_id}; runs here: 1, 2"):
            call()


def test_candidates_and_evaluations_read_back_equal_and_by_index(store: Store, run: int) -> None:
    candidates = [candidate(i, parent=i - 2 if i > 2 else None) for i in range(5)]
    evaluations = [scored(0, 0.1 + 0.2), rejected(1), failed(2), scored(4, 1 / 3)]
    store.record(run, candidates=candidates[::-1], evaluations=evaluations[::-1])
    assert list(store.candidates(run)) == candidates
    assert list(store.evaluations(run)) == evaluations
    assert [store.candidate(run, i) for i in range(5)] == candidates
    assert store.evaluation(run, 4) == evaluations[3]
    assert store.evaluation(run, 3) is None
    read = store.evaluation(run, 0)
    assert read is not None
    assert list(read.scores) == ["resnet-small", "mobilenet-small"]
    assert list(read.seconds) == ["resnet-small", "mobilenet-small"]


def test_more_candidates_than_are_read_at_a_time_come_whole_and_in_order(store: Store, run: int) -> None:
    candidates = [dataclasses.replace(candidate(0), index=i, key=str(i)) for i in range(0, 2600, 2)]
    store.record(run, candidates=candidates, evaluations=[rejected(c.index) for c in candidates])
    assert list(store.candidates(run)) == candidates
    assert [e.index for e in store.evaluations(run)] == [c.index for c in candidates]
    store.record(run, candidates=candidates, evaluations=[failed(c.index) for c in candidates])
    assert store.summary(run).statuses[Status.REJECTED] == 1300


@pytest.mark.parametrize("index", [3, -1, 2**31, 10**30])
def test_a_candidate_that_is_not_there_is_refused_with_what_there_is(store: Store, run: int, index: int) -> None:
    store.record(run, candidates=[candidate(0), candidate(1)])
    with pytest.raises(UsageError, match=rf"run {run} has no candidate {index}; it has 2 so far"):
        store.candidate(run, index)
    assert store.evaluation(run, index) is None


def test_an_index_that_is_there_stays_as_it_is(store: Store, run: int) -> None:
    first, other = candidate(0), dataclasses.replace(candidate(1, parent=0), index=0)
    store.record(run, candidates=[first, other], evaluations=[scored(0, 0.3), rejected(0)])
    store.record(run, candidates=[other, candidate(1)], evaluations=[failed(0), rejected(1)])
    store.record(run, candidates=[candidate(2)])
    store.record(run, evaluations=[failed(0), scored(2, 0.5)])  # without their candidates
    assert list(store.candidates(run)) == [first, candidate(1), candidate(2)]
    assert list(store.evaluations(run)) == [scored(0, 0.3), rejected(1), scored(2, 0.5)]


def test_runs_do_not_mix(store: Store, run: int) -> None:
    other = store.create_run(CONFIG, {}).id
    store.record(run, candidates=[candidate(0), candidate(1)], evaluations=[scored(0, 0.9)])
    store.record(other, candidates=[candidate(0)], evaluations=[rejected(0)], elapsed=3.0)
    store.record_reference(other, "bn-relu", {"resnet-small": 0.7})
    assert store.run(run).references == {}
    assert list(store.evaluations(run)) == [scored(0, 0.9)]
    assert list(store.evaluations(other)) == [rejected(0)]
    assert list(store.best(other, 5)) == []
    assert store.summary(other).candidates == 1
    assert store.summary(other).discarded == {"structural": 3, "duplicate": 1}


def test_an_evaluation_without_its_candidate_is_refused_with_all_of_its_call(store: Store, run: int) -> None:
    store.record(run, candidates=[candidate(0)])
    with pytest.raises(UsageError, match=rf"run {run} has no candidate 2; it has 1 so far"):
        store.record(
            run,
            candidates=[candidate(1)],
            evaluations=[scored(0, 0.5), scored(1, 0.6), scored(2, 0.7)],
            status=RunStatus.FINISHED,
            elapsed=9.0,
        )
    assert list(store.candidates(run)) == [candidate(0)]
    assert list(store.evaluations(run)) == []
    assert (store.run(run).status, store.run(run).elapsed) == (RunStatus.RUNNING, 0.0)


def test_status_and_elapsed_change_only_where_given(store: Store, run: int) -> None:
    store.record(run, elapsed=12.25)
    store.record(run, status=RunStatus.INTERRUPTED)
    store.record(run, candidates=[candidate(0)])
    read = store.run(run)
    assert (read.status, read.elapsed) == (RunStatus.INTERRUPTED, 12.25)


def test_what_published_layers_have_at_filters_is_kept_by_layer_and_replaced_whole(store: Store, run: int) -> None:
    signal = CheckpointValue("signal", None, "gradients\0 vanish")
    early = CheckpointValue("early-20", 0.1 + 0.2, "", 1 / 3, 2**40)
    quality = CheckpointValue("quality", None, "training diverged", 0.1, 1600)
    store.record_checkpoint_values(run, "gn-relu", [quality])
    store.record_checkpoint_values(run, "bn-relu", [quality, early, quality])
    store.record_checkpoint_values(run, "bn-relu", [signal, early])
    store.record_checkpoint_values(run, "empty", [])
    checkpoints = store.run(run).checkpoints
    read, *others = checkpoints["bn-relu"]
    assert (read.checkpoint, read.value, read.chance, read.images) == ("signal", None, None, None)
    assert read.reason.replace("\ufffd", "\0") == signal.reason  # databases cannot store NUL
    assert others == [early] and checkpoints["gn-relu"] == (quality,)
    assert [name for name, values in checkpoints.items() if values] == ["bn-relu", "gn-relu"]
    assert store.run(run).references == {}


def test_references_are_kept_by_layer_and_replaced_whole(store: Store, run: int) -> None:
    store.record_reference(run, "bn-relu", {"resnet-small": 0.7, "mobilenet-small": 0.1 + 0.2})
    store.record_reference(run, "gn-relu", {"resnet-small": 0.5})
    store.record_reference(run, "empty", {})
    store.record_reference(run, "bn-relu", {"mobilenet-small": 0.75, "a": math.inf})
    references = store.run(run).references
    assert references == {
        "bn-relu": {"mobilenet-small": 0.75, "a": math.inf},
        "gn-relu": {"resnet-small": 0.5},
        "empty": {},
    }
    assert list(references) == ["bn-relu", "gn-relu", "empty"]
    assert list(references["bn-relu"]) == ["mobilenet-small", "a"]


def test_retrainings_read_back_in_order(store: Store, run: int) -> None:
    store.record(run, candidates=[candidate(2), candidate(10)])
    kept = [
        retraining(2),
        retraining(2, seed=1001),
        retraining(2, seed=2**63 - 1, reason="diverged on resnet-small", score=0.0),
        retraining(2, held_out=1 / 3),
        retraining(2, steps=2**62),
        retraining(2, anchor="vgg-small"),
        retraining(2, stage=RetrainingStage.TEST, held_out=0.0, score=0.1 + 0.2),
        retraining(2, stage=RetrainingStage.TRANSFER),
        retraining(10, score=math.nan, reason="stopped at the deadline"),
        retraining("bn-relu"),
        retraining("gn-relu"),
    ]
    for one in kept[::-1]:
        store.record_retraining(run, one)
    assert list(store.retrainings(run)) == kept
    assert store.summary(run).candidates == 2  # and are not part of the search


def test_longer_trainings_of_a_search_are_kept_apart_and_their_time_counts(store: Store, run: int) -> None:
    store.record(run, candidates=[candidate(0), candidate(1)], evaluations=[scored(0, 0.5)])
    before = store.summary(run).training
    longer = [replace(retraining(0, stage=RetrainingStage.RUNG), seed=seed, seconds=2.5) for seed in (7, 8)]
    failed_one = replace(retraining(1, stage=RetrainingStage.RUNG, score=math.nan), seconds=1.5, reason="it died")
    for one in (failed_one, *longer[::-1], retraining(0)):
        store.record_retraining(run, one)
    assert list(store.rung_trainings(run)) == [*longer, failed_one]
    assert list(store.retrainings(run)) == [retraining(0)]
    assert store.summary(run).training == {**before, LONGER: 6.5}
    assert list(store.rung_trainings(store.create_run(CONFIG, {}).id)) == []


def test_a_retraining_stays_unless_it_failed(store: Store, run: int) -> None:
    before = store.summary(run).last_activity
    store.record_retraining(run, retraining("bn-relu", score=math.nan, reason="the worker died"))
    assert store.summary(run).last_activity > before
    store.record_retraining(run, retraining("bn-relu", score=math.nan, reason="the worker died again"))
    assert [one.reason for one in store.retrainings(run)] == ["the worker died again"]
    store.record_retraining(run, retraining("bn-relu", score=0.5))
    store.record_retraining(run, retraining("bn-relu", score=0.75))
    store.record_retraining(run, retraining("bn-relu", score=math.nan))
    assert list(store.retrainings(run)) == [retraining("bn-relu", score=0.5)]
    other = store.create_run(CONFIG, {}).id
    assert list(store.retrainings(other)) == []


@pytest.mark.parametrize("index", [1, -1, 10**30])
def test_a_retraining_of_a_candidate_that_is_not_there_is_refused(store: Store, run: int, index: int) -> None:
    store.record(run, candidates=[candidate(0)])
    with pytest.raises(UsageError, match=rf"run {run} has no candidate {index}; it has 1 so far"):
        store.record_retraining(run, retraining(index))
    assert list(store.retrainings(run)) == []


def test_the_best_are_the_scored_by_mean_then_index(store: Store, run: int) -> None:
    means = {0: 0.5, 1: 0.9, 2: 0.5, 3: math.nan, 4: 0.7, 5: math.nan, 6: -1.0}
    evaluations = [scored(i, m, m) for i, m in means.items()]
    store.record(
        run,
        candidates=[candidate(i) for i in range(10)],
        evaluations=[*evaluations, rejected(7), failed(8)],
    )
    best = store.best(run, 99)
    assert [c.index for c, _ in best] == [1, 4, 0, 2, 6, 3, 5]
    assert [e.index for _, e in best] == [1, 4, 0, 2, 6, 3, 5]
    assert list(store.best(run, 2)) == [(candidate(1), evaluations[1]), (candidate(4), evaluations[4])]
    assert list(store.best(run, 0)) == []
    assert list(store.best(run, -1)) == []


def test_a_summary_counts_and_adds_up(store: Store, run: int) -> None:
    store.record(
        run,
        candidates=[candidate(i) for i in range(6)],
        evaluations=[
            scored(0, 0.5),
            rejected(1),
            rejected(2, "not finite"),
            rejected(3, "vanishes", name="signal"),
            rejected(4, "not finite"),
            failed(5, attempts=3),
        ],
    )
    summary = store.summary(run)
    assert summary.candidates == 6
    assert summary.evaluations == 6
    assert summary.statuses == {Status.SCORED: 1, Status.REJECTED: 4, Status.FAILED: 1}
    assert list(summary.filters) == ["signal", "quality"]
    signal, quality = summary.filters.values()
    assert signal == FilterSummary(5, 1, pytest.approx(0.01 + 4 * 0.02), {"vanishes": 1})
    assert quality == FilterSummary(4, 3, pytest.approx(0.5 + 3 * 0.4), {"not finite": 2, "below the floor": 1})
    assert list(quality.reasons) == ["not finite", "below the floor"]
    assert summary.discarded == {"structural": 3 * 6 + 15, "duplicate": 6}
    assert summary.drawing == pytest.approx({"sampling": 0.6 + 15, "structural": 2.0, "numerical": 1.5})
    assert summary.training == pytest.approx({"resnet-small": 1.1 + 4 * 0.3, "mobilenet-small": 1.7})
    assert summary.retries == 2
    assert store.run(run).created <= summary.last_activity <= datetime.now(UTC)


def test_filters_of_a_summary_come_by_their_earliest_places(store: Store, run: int) -> None:
    def passed(*names: str) -> tuple[FilterOutcome, ...]:
        return tuple(FilterOutcome(name, True, "", None, 0.25) for name in names)

    ended = [Evaluation(0, Status.FAILED, filters=passed("a", "d", "c", "b")), Evaluation(1, Status.FAILED)]
    ended.append(Evaluation(2, Status.FAILED, filters=passed("a", "b"), attempts=4))
    store.record(run, candidates=[candidate(i) for i in range(3)], evaluations=ended)
    assert list(store.summary(run).filters) == ["a", "b", "d", "c"]
    assert store.summary(run).retries == 3


def test_the_summary_of_a_new_run_is_nothing(store: Store, run: int) -> None:
    summary = store.summary(run)
    assert (summary.candidates, summary.evaluations, summary.retries) == (0, 0, 0)
    assert set(summary.statuses) == set(Status)
    assert (summary.filters, summary.discarded, summary.drawing, summary.training) == ({}, {}, {}, {})
    store.record_reference(run, "bn-relu", {})
    assert store.summary(run).last_activity > summary.last_activity


def test_a_users_objective_has_the_direction_that_its_run_recorded(store: Store) -> None:
    """Without the user's file, which is not loaded here."""
    depth = Objective("mine.py:depth", "nodes", False, "The depth of the graph.")
    protocol = dataclasses.replace(
        CONFIG.protocol, objectives=("anchors", depth.name), plugins=(objective_record(depth),)
    )
    run = store.create_run(dataclasses.replace(CONFIG, protocol=protocol), {}).id
    store.record(
        run, candidates=[candidate(0)], evaluations=[dataclasses.replace(scored(0, 0.75), measures={depth.name: 3.0})]
    )
    indices, rows = store.objectives(run, protocol.objectives)
    assert list(indices) == [0]
    assert rows.tolist() == [[0.75, 0.5, -3.0]]


# Coordinators


ELSEWHERE = Coordinator(
    "t", "far-away", 4711, "another machine's boot", "123", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
)


def test_a_second_coordinator_is_refused_and_told_who_the_first_is(store: Store, run: int) -> None:
    assert store.coordinator(run) is None
    first, second = Coordinator.here(), Coordinator.here()  # two searches of one process are two as well
    store.claim(run, first)
    store.claim(run, first)
    assert store.coordinator(run) == first
    whom = rf"run {run} has a coordinator: process {os.getpid()} on {re.escape(socket.gethostname())}, since 20.* UTC"
    with pytest.raises(UsageError, match=whom):
        store.claim(run, second)
    store.claim(store.create_run(CONFIG, {}).id, second)  # another run is not affected
    store.release(run, second)
    assert store.coordinator(run) == first
    store.release(run, first)
    assert store.coordinator(run) is None
    store.record(run, elapsed=1.0)  # an unclaimed run may be written by anybody
    assert store.run(run).elapsed == 1.0
    store.claim(run, second)
    with pytest.raises(UsageError):
        store.claim(run, first)
    assert store.coordinator(run) == second
    store.record(run, elapsed=2.0)  # the refused claim has changed nothing
    assert store.run(run).elapsed == 2.0


def test_a_coordinator_that_has_ended_is_replaced(store: Store, run: int) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    store.claim(run, dataclasses.replace(Coordinator.here(), pid=ended.pid, started="1"))
    mine = Coordinator.here()
    store.claim(run, mine)
    assert store.coordinator(run) == mine


def test_one_that_a_newer_process_has_the_number_of_has_ended(store: Store, run: int) -> None:
    mine = Coordinator.here()
    store.claim(run, dataclasses.replace(mine, token="before", started="1"))
    store.claim(run, mine)
    assert store.coordinator(run) == mine


def test_one_on_another_machine_is_gone_once_it_was_silent(
    store: Store, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.claim(run, ELSEWHERE)
    with pytest.raises(UsageError, match="process 4711 on far-away, since 2024-05-01 12:30:00 UTC; its last sign"):
        store.claim(run, Coordinator.here())
    store.renew(run, ELSEWHERE)
    monkeypatch.setattr(coordinators, "LOST_SECONDS", 0.0)
    mine = Coordinator.here()
    store.claim(run, mine)
    assert store.coordinator(run) == mine


@pytest.mark.parametrize("by", ["renewing", "recording", "claiming"])
def test_a_coordinator_is_heard_of_whenever_it_writes(
    store: Store, run: int, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, silences = Coordinator.here(), []

    def listened(self: Coordinator, silent: float) -> bool:
        silences.append(silent)
        return False

    monkeypatch.setattr(Coordinator, "gone", listened)
    store.claim(run, mine)
    time.sleep(0.3)
    for write in (lambda: None, *[write_by(store, run, mine)[by]]):
        since = time.monotonic()
        write()
        with pytest.raises(UsageError, match="has a coordinator"):
            store.claim(run, Coordinator.here())
    # Clocks of a server and of this process are one machine's, and far more exact than a tenth of a second.
    assert silences[0] > 0.2 and 0 <= silences[1] < time.monotonic() - since + 0.1


def write_by(store: Store, run: int, mine: Coordinator) -> dict[str, Callable[[], None]]:
    return {
        "renewing": lambda: store.renew(run, mine),
        "recording": lambda: store.record(run, elapsed=1.0),
        "claiming": lambda: store.claim(run, mine),
    }


def test_one_whose_run_was_taken_over_records_nothing_more(
    store: Store, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Coordinator.here()
    store.claim(run, mine)
    store.record(run, candidates=[candidate(0)])
    monkeypatch.setattr(Coordinator, "gone", lambda self, silent: True)
    # As another process would do through a store of its own; a store in memory has only one.
    keeper = store if isinstance(store, MemoryStore) else type(store)(store._reading, "")  # type: ignore[attr-defined]
    keeper.claim(run, ELSEWHERE)
    if isinstance(store, MemoryStore):
        store._claimed[run] = mine
    with pytest.raises(StorageError, match=rf"run {run} was taken over by process 4711 on far-away"):
        store.record(run, evaluations=[scored(0, 0.5)], status=RunStatus.FINISHED)
    with pytest.raises(StorageError, match="taken over"):
        store.renew(run, mine)
    store.release(run, mine)
    assert store.coordinator(run) == ELSEWHERE
    assert store.evaluation(run, 0) is None and store.run(run).status is RunStatus.RUNNING


def test_closing_twice_does_nothing(store: Store) -> None:
    run_ids = store.run_ids()
    store.close()
    store.close()
    assert store.run_ids() == run_ids  # nothing was lost


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
# math.nan rather than any NaN, because within a tuple or a dict only the same object compares equal.
NUMBERS = st.floats(allow_nan=False) | st.just(math.nan)
MEASURED = st.none() | NUMBERS | st.sampled_from([math.inf, -math.inf])
SECONDS = st.dictionaries(NAMES, st.floats(0, 1e9), max_size=3)
ORIGINS = st.builds(
    Origin, st.sampled_from(OriginKind), st.none() | st.integers(0, 2**31 - 1), st.lists(NAMES, max_size=3).map(tuple)
)
CANDIDATES = st.builds(
    Candidate,
    index=st.integers(0, 2**31 - 1),
    graph=st.sampled_from([Graph.parse(text) for text in EXPRESSIONS]),
    key=NAMES,
    functional_key=NAMES,
    origin=ORIGINS,
    discarded=st.dictionaries(NAMES, st.integers(0, 2**31 - 1), max_size=3),
    seconds=SECONDS,
)
OUTCOMES = st.builds(FilterOutcome, NAMES, st.booleans(), NAMES, MEASURED, st.floats(0, 1e9))
EVALUATIONS = st.builds(
    Evaluation,
    index=st.just(0),
    status=st.sampled_from(Status),
    scores=st.dictionaries(NAMES, NUMBERS, max_size=3),
    filters=st.lists(OUTCOMES, max_size=3).map(tuple),
    seconds=SECONDS,
    reason=NAMES,
    attempts=st.integers(1, 9),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=CANDIDATES, ended=EVALUATIONS)
def test_what_is_read_equals_what_was_recorded(store: Store, drawn: Candidate, ended: Evaluation) -> None:
    run = store.create_run(CONFIG, {}).id
    ended = dataclasses.replace(ended, index=drawn.index)
    store.record(run, candidates=[drawn], evaluations=[ended])
    assert store.candidate(run, drawn.index) == drawn
    read = store.evaluation(run, drawn.index)
    assert read == ended
    assert read is not None
    assert list(read.scores.items()) == list(ended.scores.items())
