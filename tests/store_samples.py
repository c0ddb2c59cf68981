"""Values that tests of stores record, and helpers that tests of databases share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from evonas.db import open_store
from evonas.errors import EvonasError
from evonas.language.graph import Graph
from evonas.records.coordinator import Coordinator
from evonas.records.retraining import Retraining, RetrainingStage
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.search_spaces import evonorm
from evonas.settings.candidate import Candidate, Evaluation, FilterOutcome, Origin, OriginKind, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import RunConfig

CONFIG = RunConfig(
    space=evonorm,
    budget=50,
    seed=7,
    seed_graphs=('{"nodes": [["sigmoid", [0]]]}',),
    core_minutes=1.5,
    protocol=EvaluationProtocol(anchors=("resnet-small", "mobilenet-small"), steps=30, data_dir="elsewhere"),
)
EXPRESSIONS = ("x * sigmoid(v1 * x) / std_whcg(x)", "max(x, 0)", "tanh(x + x)", "v0 * x - mean_bwh(x)")


def candidate(index: int, parent: int | None = None) -> Candidate:
    """A candidate whose fields all differ."""
    origin = Origin(OriginKind.RANDOM)
    if parent is not None:
        origin = Origin(OriginKind.MUTATION, parent, ("node 5: mul to add", "node 7: from 4 to 5"))
    return Candidate(
        index,
        Graph.parse(EXPRESSIONS[index % len(EXPRESSIONS)]),
        key=f"key-{index}",
        functional_key=f"function-{index}",
        origin=origin,
        discarded={"structural": 3 + index, "duplicate": 1},
        seconds={"sampling": 0.1 + index, "structural": 1 / 3, "numerical": 0.25},
    )


def scored(index: int, first: float, second: float = 0.5) -> Evaluation:
    """A scored evaluation, whose anchors are not in alphabetical order."""
    return Evaluation(
        index,
        Status.SCORED,
        scores={"resnet-small": first, "mobilenet-small": second},
        measures={"step-time": 0.012, "size": 7.0},
        filters=(
            FilterOutcome("signal", True, "", 0.1, 0.01),
            FilterOutcome("quality", True, "", None, 0.5),
        ),
        seconds={"resnet-small": 1.1, "mobilenet-small": 1.7},
    )


def rejected(index: int, reason: str = "below the floor", name: str = "quality") -> Evaluation:
    """An evaluation rejected by a filter."""
    return Evaluation(
        index,
        Status.REJECTED,
        filters=(
            FilterOutcome("signal", name != "signal", reason if name == "signal" else "", 2.0, 0.02),
            *((FilterOutcome(name, False, reason, 0.11, 0.4),) if name != "signal" else ()),
        ),
        seconds={"resnet-small": 0.3},
    )


def failed(index: int, reason: str = "took longer than 300 s", attempts: int = 2) -> Evaluation:
    """A failed evaluation, during which the worker died."""
    return Evaluation(index, Status.FAILED, reason=reason, attempts=attempts)


def retraining(layer: int | str, **changes: object) -> Retraining:
    """A training after the search."""
    return replace(Retraining(layer, RetrainingStage.HELD_OUT, "resnet-small", 1000, 60, 0.2, 0.625, 1.5), **changes)  # type: ignore[arg-type]


@contextmanager
def beside_another(store: Store, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """A new run in a store with another run, which has more of every record and must not change."""
    other = store.create_run(CONFIG, {"torch": "1.13"}).id
    drawn = [replace(candidate(i, parent=i - 3 if i % 3 else None), start=bytes([i, 9])) for i in range(12)]
    ended = [scored(0, 0.75), rejected(1), failed(2), scored(3, 0.25), rejected(4, "explodes", "signal")]
    ended += [scored(i, 0.99 - i / 100) for i in range(5, 11)]  # one is still missing
    followed = [retraining(2, score=0.375), retraining("bn-relu", score=0.375)]
    times = {"waiting": 8.0, "showing": 4.0}
    mine = Coordinator.here()
    store.claim(other, mine)
    store.record(other, candidates=drawn, evaluations=ended, status=RunStatus.INTERRUPTED, elapsed=16.0, times=times)
    store.record_reference(other, "bn-relu", {"resnet-small": 0.125})
    store.record_checkpoint_values(other, "bn-relu", [CheckpointValue("quality", 0.25, "", 0.5, 8)])
    for one in followed:
        store.record_retraining(other, one)
    found = store.run(other)
    assert (found.status, found.elapsed, found.times) == (RunStatus.INTERRUPTED, 16.0, times)
    yield store.create_run(CONFIG, environment or {}).id
    assert store.run(other) == found and store.coordinator(other) == mine
    assert list(store.candidates(other)) == drawn and list(store.evaluations(other)) == ended
    assert list(store.retrainings(other)) == followed


def small_database(folder: Path) -> Path:
    """A database with one run, which has a scored, a rejected and an unfinished candidate."""
    file = folder / "runs.db"
    with open_store(str(file)) as store:
        store.create_run(CONFIG, {})
        drawn = [candidate(0), candidate(1), candidate(2, parent=0)]
        store.record(1, candidates=drawn, evaluations=[scored(0, 0.5), rejected(1)])
    return file


def query(file: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return rows


@contextmanager
def refused(kind: type[EvonasError], match: str) -> Iterator[None]:
    """Assert that the block raises `kind` with a message of one line that matches."""
    with pytest.raises(kind, match=match) as caught:
        yield
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert "SECRET" not in str(caught.value)
