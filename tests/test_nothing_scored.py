"""A run that scores nothing says why and what to change, and the command exits with 1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evonas.front.result import Result
from evonas.records.memory_store import MemoryStore
from evonas.records.nothing_scored import why_nothing_was_scored
from evonas.records.run_info import RunStatus
from evonas.records.store import Store
from evonas.settings.candidate import Evaluation, FilterOutcome, Status
from evonas.settings.checkpoint_value import CheckpointValue
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.run_config import FLOOR_LAYERS, REFERENCES
from tests.store_samples import CONFIG, candidate, failed, rejected, scored
from tests.test_cli import Call, call  # noqa: F401  # the fixture

PROTOCOL = replace(CONFIG.protocol, early_steps=(20,), early_floors=(0.1,), steps=100)


def ended(
    *evaluations: Evaluation, protocol: EvaluationProtocol = PROTOCOL, status: RunStatus = RunStatus.FINISHED
) -> Store:
    """A store with a run that ended with these evaluations."""
    store = MemoryStore()
    run = store.create_run(replace(CONFIG, protocol=protocol), {})
    store.record(run.id, candidates=[candidate(e.index) for e in evaluations], evaluations=evaluations, status=status)
    return store


def fell(index: int, name: str, reason: str) -> Evaluation:
    return Evaluation(index, Status.REJECTED, filters=(FilterOutcome(name, False, reason, 0.05, 0.1),))


def explained(store: Store) -> str:
    text = why_nothing_was_scored(store, 1)
    assert text is not None and text in str(Result(store, 1))
    return text


def test_what_filters_turned_away_is_counted_and_the_floors_are_named() -> None:
    store = ended(
        *(fell(i, "early-20", "at chance" if i else "training diverged") for i in range(4)),
        rejected(4, "flat", "signal"),
    )
    store.record_reference(1, "bn-relu", {"resnet-small": 0.25, "mobilenet-small": 0.75})
    assert explained(store).splitlines() == [
        "run 1 scored nothing: filters turned away 5 of 5 candidates: early-20 4, signal 1.",
        "Most fell to the filter early-20, 3 of them with the reason: at chance.",
        "The floors were early-20 0.1, quality 0.2.",
        "Published layers score under this protocol: bn-relu 0.5.",
        "What to change: protocol.early_floors is an accuracy, which has to suit the number of classes; lower it, or "
        "set protocol.floors=published with shares such as 0.2, so that floors follow from the task.",
    ]


def test_published_layers_are_quoted_at_the_filter_to_which_most_fell() -> None:
    store = ended(fell(0, "early-20", "at chance"), protocol=replace(PROTOCOL, floors="published", quality_floor=0.5))
    values = [CheckpointValue("early-20", 0.5, "", 0.25, 640), CheckpointValue("quality", 0.75, "", 0.25, 640)]
    store.record_checkpoint_values(1, "bn-relu", values)
    store.record_checkpoint_values(1, "dyt", [CheckpointValue("early-20", None, "training diverged", 0.25, 640)])
    lines = explained(store).splitlines()
    assert lines[2:4] == ["The floors were early-20 0.275, quality 0.5.", "Published layers have there: bn-relu 0.5."]
    assert lines[4].startswith("What to change: lower protocol.early_floors, a share of the way")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("signal", "protocol.signal=false"),
        ("stability-5", "protocol.stability_steps=[]"),
        ("hurdle resnet-small end", "protocol.hurdle_quantile=0"),
        ("quality", "protocol.quality_floor"),
        ("flatness", "a filter of your own"),
    ],
)
def test_the_advice_is_about_the_filter_that_decided(name: str, advice: str) -> None:
    assert advice in explained(ended(fell(0, name, "no"))).splitlines()[-1]


def test_a_filter_that_published_layers_pass_is_not_to_blame() -> None:
    store = ended(fell(0, "signal", "vanishes"))
    for reason in ("", "vanishes"):
        store.record_checkpoint_values(1, f"layer {reason}", [CheckpointValue("signal", None, reason)])
        assert ("judge more candidates" in explained(store)) is (not reason)


def test_a_run_whose_candidates_failed_says_so() -> None:
    store = ended(
        failed(0, "out of memory"), failed(1, "out of memory"), failed(2, "killed"), fell(3, "quality", "low")
    )
    lines = explained(store).splitlines()
    assert lines[:2] == [
        "run 1 scored nothing: 3 of 4 candidates failed.",
        "Most often (2 times) the reason was: 'out of memory'.",
    ]
    assert any("filters turned away 1 of 4 candidates: quality 1." in line for line in lines)
    assert "turned away" not in explained(ended(failed(0)))


def test_a_run_that_drew_nothing_says_so() -> None:
    assert "no candidate was drawn" in explained(ended())


def test_other_runs_need_no_explanation() -> None:
    assert why_nothing_was_scored(ended(scored(0, 0.5), rejected(1)), 1) is None
    assert why_nothing_was_scored(ended(rejected(0), status=RunStatus.INTERRUPTED), 1) is None


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without any relation to their nineteen classes."""
    rng, file = np.random.default_rng(0), tmp_path_factory.mktemp("noise") / "noise.npz"
    np.savez(file, x_train=rng.integers(0, 256, (400, 8, 8, 1), np.uint8), y_train=np.arange(400) % 19)
    return file


def settings(**values: object) -> list[str]:
    written: Mapping[str, str] = {name: json.dumps(value) for name, value in values.items()}
    return [word for name, value in written.items() for word in ("--set", f"protocol.{name}={value}")]


def test_the_command_exits_with_1_and_json_stays_json(call: Call, noise: Path, tmp_path: Path) -> None:  # noqa: F811
    database = tmp_path / "runs.db"
    words = ["--data", "npz", "--data-dir", noise, "--anchor", "resnet-small", "--steps", 2, "--budget", 3]
    words += ["--executor", "local", "--storage", database, "--seed-graph", "bn-relu"]
    words += settings(floors="absolute", early_steps=[], early_floors=[], quality_floor=0.9)
    code, out, err = call("search", *words, "-f", "json")
    assert code == 1
    document = json.loads(out)
    assert document["best"] == [] and document["evaluations"]["scored"] == 0
    assert "run 1 scored nothing: filters turned away 3 of 3 candidates" in err and "What to change: " in err
    # A published layer that would be turned away is told as it is measured, and recorded.
    assert "bn-relu would be turned away by quality: low accuracy, " in err
    away = document["published"]["turned_away"]
    assert away["bn-relu"] == {"filter": "quality", "reason": "low accuracy"}
    assert document["published"]["floors"] == {"quality": 0.9}
    code, out, err = call("resume", "--executor", "local", "--storage", database)
    assert code == 1 and "run 1 scored nothing" in err and "scored nothing" not in out and "search longer" not in out


def test_with_floors_of_the_task_the_same_layer_is_scored(call: Call, noise: Path, tmp_path: Path) -> None:  # noqa: F811
    """Nothing can be learned there, so nothing can be told, and BN-ReLU passes."""
    words = ["--data", "npz", "--data-dir", noise, "--anchor", "resnet-small", "--steps", 2, "--budget", 1]
    words += ["--executor", "local", "--storage", tmp_path / "runs.db", "--seed-graph", "bn-relu"]
    words += settings(early_steps=[1], early_floors=[0.2])
    document = call.json("search", *words)
    assert document["best"][0]["name"] == "bn-relu"
    assert set(document["published"]["floors"]) == {"early-1", "quality"}
    assert set(document["published"]["checkpoints"]) == {*FLOOR_LAYERS, *REFERENCES}
    assert set(document["references"]) == set(REFERENCES)
