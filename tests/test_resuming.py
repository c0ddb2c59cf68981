"""The queries of a resumed search, and its continuation."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evonas.db import open_store
from evonas.evolution.loop import Search
from evonas.records.memory_store import MemoryStore
from evonas.records.store import Store
from evonas.settings.candidate import CandidateKeys, Ending, FilterOutcome, Status
from evonas.settings.objectives import fitness
from tests.fakes import FakeExecutor, config, table
from tests.store_samples import CONFIG, beside_another, candidate, failed, rejected, scored
from tests.test_evolution import searched

RUN = 2
"""Beside another, which has more of everything."""


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = MemoryStore() if request.param == "memory" else open_store(str(tmp_path / "runs.db"))
    with opened, beside_another(opened) as run_id:
        assert run_id == RUN
        drawn = [replace(candidate(i), start=bytes([i, 0]) if i % 2 else None) for i in range(8)]
        nan = FilterOutcome("signal", True, "", math.nan, 0.0)
        ended = [scored(0, 0.9), rejected(1), scored(2, 0.2), failed(3), scored(5, 0.7), scored(6, 0.4)]
        ended[2] = replace(ended[2], filters=(nan,), wall=3.5)
        ended[4] = replace(ended[4], filters=(*ended[4].filters[:1], FilterOutcome("quality", True, "", 0.25, 0.5)))
        opened.record(RUN, candidates=drawn, evaluations=ended, times={"waiting": 2.0, "database": 0.5})
        yield opened


def test_what_a_search_that_goes_on_asks(store: Store) -> None:
    assert list(store.candidate_keys(RUN))[:2] == [
        CandidateKeys("key-0", "function-0", None),
        CandidateKeys("key-1", "function-1", b"\x01\x00"),
    ]
    assert list(store.unevaluated(RUN)) == [4, 7]
    assert list(store.endings(RUN, 6)) == [
        Ending(0, None, Status.SCORED, None, None),
        Ending(1, b"\x01\x00", Status.REJECTED, "quality", 0.11),
        Ending(2, None, Status.SCORED, None, None),
        Ending(3, b"\x03\x00", Status.FAILED, None, None),
        Ending(5, b"\x05\x00", Status.SCORED, None, 0.25),
    ]
    assert list(store.endings(RUN, 0)) == [] and len(list(store.endings(RUN, 99))) == 6
    assert [c.index for c, _ in store.newest_scored(RUN, 6, 2)] == [2, 5]
    assert [e.index for _, e in store.newest_scored(RUN, 0, 2)] == [] == list(store.newest_scored(RUN, 6, 0))
    assert list(store.filter_values(RUN, "signal", 6, 2)) == [2.0, 0.1]  # that of 2 is NaN
    assert list(store.filter_values(RUN, "quality", 100, 9)) == [0.11, 0.25]
    assert [c.index for c in store.candidates(RUN, 5)] == [5, 6, 7]
    assert [e.index for e in store.evaluations(RUN, 3)] == [3, 5, 6]
    assert [known.key for known in store.candidate_keys(RUN)] == [f"key-{i}" for i in range(8)]
    # Below the index, which is excluded.
    assert [c.index for c, _ in store.newest_scored(RUN, 5, 9)] == [0, 2]
    for before in (2, 5):
        assert list(store.filter_values(RUN, "signal", before, 9)) == [0.1, 2.0]
    assert [store.newest_scored(RUN, 9, -1), store.filter_values(RUN, "signal", 9, -1)] == [[], []]


def test_times_and_wall_time_are_kept_and_replaced(store: Store) -> None:
    assert store.run(RUN).times == {"waiting": 2.0, "database": 0.5}
    store.record(RUN, elapsed=1.0)
    assert store.run(RUN).times == {"waiting": 2.0, "database": 0.5}
    store.record(RUN, times={"waiting": 3.0})
    assert store.run(RUN).times == {"waiting": 3.0}
    found = store.evaluation(RUN, 2)
    assert found is not None and found.wall == 3.5


@pytest.mark.parametrize("names", [("anchors",), ("mobilenet-small", "size"), ("step-time", "anchors")])
def test_objectives_in_one_array_are_those_of_the_evaluations(store: Store, names: tuple[str, ...]) -> None:
    ended = [e for e in store.evaluations(RUN) if e.scores]
    indices, rows = store.objectives(RUN, names)
    assert list(indices) == [0, 2, 5, 6] == [e.index for _, e in store.pairs(RUN, indices)]
    np.testing.assert_array_equal(rows, fitness(ended, names))
    assert list(store.objectives(store.create_run(CONFIG, {}).id, names)[0]) == []


def test_a_run_of_an_earlier_version_is_upgraded_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Without most sketches, as in earlier versions: the graphs are evaluated again, and their twins still found."""
    settings = config(budget=60, twins=0.02, strategy="random")
    path = tmp_path / "runs.db"
    with open_store(str(path)) as opened:
        run = opened.create_run(replace(settings, budget=30), {})
        Search(run, opened, FakeExecutor(2)).execute()
        assert all(c.start is not None for c in opened.candidates(run.id))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE candidates SET start = NULL WHERE number < 25")  # and upgraded in between
        connection.commit()
    with open_store(str(path)) as opened:
        resumed = replace(opened.run(run.id), config=settings)
        Search(resumed, opened, FakeExecutor(3)).execute()
        assert table(opened, run) == table(*searched(settings, FakeExecutor(1)))
