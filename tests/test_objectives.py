"""Objectives: the numbers that selection sees, and their direction."""

from __future__ import annotations

import pytest

from evonas.errors import UsageError
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.objectives import (
    OBJECTIVES,
    Objective,
    check_objectives,
    fitness,
    measured_objectives,
    objective_named,
    objective_record,
)

ANCHORS = ("wide", "deep")
EVALUATIONS = [
    Evaluation(0, Status.SCORED, {"wide": 0.5, "deep": 0.75}, {"size": 7.0, "batch-4": 0.25}),
    Evaluation(1, Status.SCORED, {"wide": 0.25, "deep": 1.0}, {"size": 3.0, "batch-4": 0.5}),
]


def test_columns_follow_the_names_and_higher_is_better() -> None:
    assert fitness(EVALUATIONS, ["anchors"]).tolist() == [[0.5, 0.75], [0.25, 1.0]]
    falling = Evaluation(2, Status.SCORED, {"wide": 0.75, "deep": 0.25})
    assert fitness([falling], ["anchors"]).tolist() == [[0.75, 0.25]]
    assert fitness(EVALUATIONS, ["size", "deep"]).tolist() == [[-7.0, 0.75], [-3.0, 1.0]]
    assert fitness(EVALUATIONS, ["batch-4", "anchors"]).tolist() == [[0.25, 0.5, 0.75], [0.5, 0.25, 1.0]]


def test_workers_measure_what_is_no_accuracy_on_an_anchor() -> None:
    assert [o.name for o in measured_objectives(["size", "anchors", "step-time"])] == ["size", "step-time"]
    assert measured_objectives(["anchors"]) == ()


def test_values_are_written_in_units_that_people_use() -> None:
    values = {"step-time": 0.01234, "saved-bytes": 3 * 2**20 + 2**19, "batch-4": 0.98765, "size": 7.0}
    written = [OBJECTIVES[name].written(value) for name, value in values.items()]
    assert written == ["12.3 ms", "3.5 MiB", "0.988", "7 nodes"]
    assert {name: row.higher_is_better for name, row in OBJECTIVES.items()} == {
        "batch-4": True,
        "size": False,
        "step-time": False,
        "saved-bytes": False,
    }
    assert [name for name, row in OBJECTIVES.items() if not row.reproducible] == ["step-time"]


def test_a_users_objective_is_known_by_the_record_of_its_run_alone() -> None:
    """Results are read without the user's file, and making a protocol has no effect on anything else."""
    depth = Objective("mine.py:depth", "nodes", False, "The depth of the graph.")
    protocol = EvaluationProtocol(anchors=ANCHORS, objectives=(depth.name,), plugins=(objective_record(depth),))
    scored = Evaluation(0, Status.SCORED, {"wide": 0.5, "deep": 0.75}, {depth.name: 3.0})
    assert objective_named(depth.name, protocol.plugins) == depth
    assert measured_objectives(protocol.objectives, ANCHORS, protocol.plugins) == (depth,)
    assert fitness([scored], protocol.objectives, protocol.plugins).tolist() == [[-3.0]]
    with pytest.raises(UsageError, match=r"the file 'mine\.py' has not been loaded here"):
        objective_named(depth.name)
    with pytest.raises(UsageError, match="the run's record of an objective cannot be read"):
        EvaluationProtocol(anchors=ANCHORS, plugins=('{"objective": {"name": "x"}}',))


def test_an_accuracy_on_an_anchor_is_not_measured() -> None:
    assert [o.name for o in measured_objectives(["deep", "size"], ANCHORS)] == ["size"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "at least one objective is needed"),
        (("sise",), "unknown objective 'sise'"),
        (("size", "size"), "an objective is named twice"),
        (("anchors", "deep"), "an objective is named twice"),
    ],
)
def test_what_makes_no_sense_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_objectives(names, ANCHORS)


def test_a_protocol_checks_its_objectives_against_its_anchors() -> None:
    assert EvaluationProtocol(anchors=ANCHORS, objectives=("deep", *OBJECTIVES)).objectives[0] == "deep"
    with pytest.raises(UsageError, match="unknown objective 'resnet-small'"):
        EvaluationProtocol(anchors=ANCHORS, objectives=("resnet-small",))
