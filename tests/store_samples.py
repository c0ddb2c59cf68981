"""Values that the tests of stores record."""

from __future__ import annotations

from evonas.candidate import Candidate, Evaluation, FilterOutcome, Kind, Origin, Status
from evonas.config import Protocol, RunConfig
from evonas.graph import Graph
from evonas.search_spaces import evonorm

CONFIG = RunConfig(
    space=evonorm,
    budget=50,
    seed=7,
    seed_graphs=('{"nodes": [["sigmoid", [0]]]}',),
    core_minutes=1.5,
    protocol=Protocol(anchors=("resnet-small", "mobilenet-small"), steps=30, data_dir="elsewhere"),
)
EXPRESSIONS = ("x * sigmoid(v1 * x) / std_whcg(x)", "max(x, 0)", "tanh(x + x)", "v0 * x - mean_bwh(x)")


def candidate(index: int, parent: int | None = None) -> Candidate:
    """A candidate in which no two fields are alike."""
    origin = Origin(Kind.RANDOM)
    if parent is not None:
        origin = Origin(Kind.MUTATION, parent, ("node 5: mul to add", "node 7: from 4 to 5"))
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
    """An evaluation that ended in scores, whose order is not the alphabet's."""
    return Evaluation(
        index,
        Status.SCORED,
        scores={"resnet-small": first, "mobilenet-small": second},
        filters=(
            FilterOutcome("signal", True, "", 0.1, 0.01),
            FilterOutcome("quality", True, "", None, 0.5),
        ),
        seconds={"resnet-small": 1.1, "mobilenet-small": 1.7},
    )


def rejected(index: int, reason: str = "below the floor", name: str = "quality") -> Evaluation:
    """An evaluation that a filter ended."""
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
    """An evaluation that the worker did not survive."""
    return Evaluation(index, Status.FAILED, reason=reason, attempts=attempts)
