"""Running totals equal those that a store adds up, wherever they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.db import open_store
from evonas.front.api import execute
from evonas.judging.floors import TurnedAway
from evonas.records.memory_store import MemoryStore
from evonas.records.run_info import FilterSummary, RunSummary
from evonas.records.running_totals import RunningTotals
from evonas.records.store import Store
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Status
from tests.fakes import FakeExecutor, config
from tests.store_samples import candidate
from tests.test_metrics import Interrupt

FILTERS = ("signal", "stability-5", "early-20", "quality")
REASONS = ("at chance", "vanishes", "explodes")


def comparable(summary: RunSummary) -> Any:
    """Compare all but the time, including the order of names; sums of seconds are compared approximately."""

    def rounded(value: Any) -> Any:
        if isinstance(value, dict):
            return [(name, rounded(item)) for name, item in value.items()]
        return round(value, 6) if isinstance(value, float) else value

    return rounded({k: v for k, v in asdict(summary).items() if k != "last_activity"})


@st.composite
def evaluations(draw: Callable[..., Any], index: int) -> Evaluation:
    """Outcomes of some filters that accepted, perhaps followed by one that rejected."""
    reached = draw(st.integers(0, len(FILTERS)))
    seconds = st.integers(0, 64).map(lambda n: n / 64)
    outcomes = [FilterOutcome(name, True, "", None, draw(seconds)) for name in FILTERS[:reached]]
    training = {name: draw(seconds) for name in draw(st.sets(st.sampled_from(["b", "a", "building kernels"])))}
    attempts = draw(st.integers(1, 3))
    if reached == len(FILTERS):
        return Evaluation(index, Status.SCORED, {"a": 0.5}, {}, tuple(outcomes), training, "", attempts)
    outcomes.append(FilterOutcome(FILTERS[reached], False, draw(st.sampled_from(REASONS)), None, draw(seconds)))
    return Evaluation(index, Status.REJECTED, {}, {}, tuple(outcomes), training, "", attempts)


def added_up(drawn: Sequence[Candidate], judged: Sequence[Evaluation]) -> RunSummary:
    """The totals, straight from their definitions."""

    def sums(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {name: sum(part.get(name, 0) for part in parts) for name in sorted({n for part in parts for n in part})}

    outcomes = [(place, outcome) for one in judged for place, outcome in enumerate(one.filters)]
    places = {o.name: min(place for place, other in outcomes if other.name == o.name) for _, o in outcomes}
    filters = {}
    for name in sorted(places, key=lambda name: (places[name], name)):
        mine = [outcome for _, outcome in outcomes if outcome.name == name]
        reasons = [outcome.reason for outcome in mine if not outcome.accepted]
        by_count = sorted(set(reasons), key=lambda reason: (-reasons.count(reason), reason))
        counted = {reason: reasons.count(reason) for reason in by_count}
        filters[name] = FilterSummary(len(mine), len(reasons), sum(o.seconds for o in mine), counted)
    return RunSummary(
        candidates=len(drawn),
        statuses={status: sum(one.status is status for one in judged) for status in Status},
        filters=filters,
        discarded=sums([one.discarded for one in drawn]),
        drawing=sums([one.seconds for one in drawn]),
        training=sums([one.seconds for one in judged]),
        retries=sum(one.attempts - 1 for one in judged),
        last_activity=datetime.now(UTC),
    )


@settings(max_examples=40)
@given(st.data(), st.integers(0, 12), st.integers(0, 12))
def test_they_go_on_from_any_summary(data: st.DataObject, before: int, after: int) -> None:
    drawn = [
        replace(candidate(index), discarded={data.draw(st.sampled_from("xyz")): 2}) for index in range(before + after)
    ]
    judged = [data.draw(evaluations(index)) for index in range(before + after)]
    store = MemoryStore()
    run = store.create_run(config(), {})
    store.record(run.id, candidates=drawn[:before], evaluations=judged[:before])
    totals = RunningTotals(store.summary(run.id))
    for one, evaluation in zip(drawn[before:], judged[before:], strict=True):
        totals.drawn(one)
        totals.evaluated(evaluation)
    assert comparable(totals.summary()) == comparable(added_up(drawn, judged))


class Following:
    """An observer that keeps totals, and compares them with the store's at every tick."""

    def __init__(self, store: Store, run_id: int) -> None:
        self.store, self.run_id, self.totals = store, run_id, RunningTotals(store.summary(run_id))
        self.looks = 0

    def drawn(self, one: Candidate) -> None:
        self.totals.drawn(one)

    def evaluated(self, one: Candidate, evaluation: Evaluation) -> None:
        self.totals.evaluated(evaluation)

    def referenced(self, layer: str, evaluation: Evaluation) -> None:
        """References are not candidates."""

    def turned_away(self, layer: TurnedAway) -> None:
        """Nor are these."""

    def tick(self, pending: int) -> None:
        self.looks += 1
        assert comparable(self.totals.summary()) == comparable(self.store.summary(self.run_id))


@pytest.mark.parametrize("kind", ["memory", "database"])
def test_a_search_and_its_store_agree_at_every_tick(kind: str, tmp_path: Path) -> None:
    with MemoryStore() if kind == "memory" else open_store(str(tmp_path / "runs.db")) as store:
        run = store.create_run(config(), {})
        first = Following(store, run.id)
        execute(run, store, FakeExecutor(3), [first, Interrupt(10)], references=("bn-relu",))
        again = Following(store, run.id)
        execute(store.run(run.id), store, FakeExecutor(2), [again], references=())
        assert first.looks >= 9 and again.looks > 5
        assert store.summary(run.id).evaluations == 40
