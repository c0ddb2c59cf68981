"""What a run is told as, in JSON, against a count of the evaluations themselves."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from evonas.api import execute
from evonas.memory_store import MemoryStore
from evonas.results import status
from tests.fakes import FakeExecutor, config


def test_the_totals_of_a_run_are_those_of_its_evaluations() -> None:
    store = MemoryStore()
    run = store.create_run(config(), {})
    execute(run, store, FakeExecutor(2), [], references=("bn-relu",))
    told = json.loads(json.dumps(status(store.run(run.id), store.summary(run.id))))
    evaluations = list(store.evaluations(run.id))
    assert told["evaluations"] == Counter(one.status.value for one in evaluations)
    assert told["candidates"] == len(list(store.candidates(run.id)))
    assert told["filters"].keys() == {outcome.name for one in evaluations for outcome in one.filters}
    for name, found in told["filters"].items():
        outcomes = [outcome for one in evaluations for outcome in one.filters if outcome.name == name]
        rejections = [outcome for outcome in outcomes if not outcome.accepted]
        assert found == {
            "judged": len(outcomes),
            "rejected": len(rejections),
            "seconds": pytest.approx(sum(outcome.seconds for outcome in outcomes)),
            "reasons": Counter(outcome.reason for outcome in rejections),
        }
    assert told["retries"] == sum(one.attempts - 1 for one in evaluations)
    assert told["references"] == store.run(run.id).references
    assert told["seed"] == config().seed
    assert told["budget"] == config().budget
