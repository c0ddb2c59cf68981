"""What candidates are selected by: accuracies, and further objectives by name.

A run's protocol lists its objectives: ``"anchors"`` stands for the accuracy on each anchor, an anchor's own
name for the accuracy on that one, and the names of `OBJECTIVES` for what is measured beside them. Workers
measure those (`workers/trial/objective_measures.py`); selection sees one number each, turned so that higher is better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from evonas.errors import UsageError, unknown
from evonas.settings.plugins import Registry, is_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from evonas.settings.candidate import Evaluation

    Fitness = NDArray[np.float64]
    """Members × objectives, higher is better."""

ANCHORS = "anchors"
"""Stands for the accuracy on each anchor."""


@dataclass(frozen=True, slots=True)
class Objective:
    """Something beside accuracy that candidates may be selected by.

    Attributes:
        name: what users write.
        unit: of its values.
        higher_is_better: its direction.
        meaning: one sentence.
        reproducible: whether the same layer always measures the same; with an objective that does not, a
            run's candidates depend on the machine's mood.
        measure: for an objective of a user's own: its value for a `Trial` (`workers/trial/trial.py`), on a worker.
    """

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    reproducible: bool = True
    measure: Callable[[Any], float] | None = None

    def written(self, value: float) -> str:
        """A value for people, short."""
        match self.unit:
            case "seconds":
                return f"{1000 * value:.1f} ms"
            case "bytes":
                return f"{value / 2**20:.1f} MiB"
            case "accuracy":
                return f"{value:.3f}"
            case _:
                return (
                    f"{value:.4g} {self.unit}"
                    if self.measure or is_reference(self.name)
                    else f"{value:.0f} {self.unit}"
                )


_ROWS = (
    Objective(
        "batch-4",
        "accuracy",
        True,
        "Validation accuracy on the first anchor when the layer sees 4 images at a time: each step's gradient is "
        "the mean over parts of 4 images, as on workers that share a batch.",
    ),
    Objective("size", "nodes", False, "Intermediate nodes of the canonical graph."),
    Objective(
        "step-time",
        "seconds",
        False,
        "Median wall time of a training step of the first anchor.",
        reproducible=False,
    ),
    Objective(
        "saved-bytes",
        "bytes",
        False,
        "What autograd keeps for the backward pass of one training step of the first anchor, weights left out.",
    ),
)

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({row.name: row for row in _ROWS})


def _own(text: str, found: object) -> Objective | None:
    """A user's objective, under the name that the run knows it by."""
    if isinstance(found, Objective) and callable(found.measure):
        return replace(found, name=text)
    return None


OWN = Registry("objective", OBJECTIVES, _own, "an evonas.settings.objectives.Objective with a function `measure`")

_recorded: dict[str, Objective] = {}
"""What runs recorded of users' objectives, to read their results without the users' files."""


def objective_named(name: str) -> Objective:
    """The objective of a name, without its measurement where only a record of it is at hand.

    Raises:
        UsageError: there is none.
    """
    return _recorded[name] if name in _recorded else OWN.find(name)


def record_of(objective: Objective) -> str:
    """What a run records of a user's objective, as JSON."""
    fields = ("name", "unit", "higher_is_better", "meaning", "reproducible")
    return json.dumps({"objective": {field: getattr(objective, field) for field in fields}})


def recall(recorded: Sequence[str]) -> None:
    """Knows from now on the objectives that a run recorded.

    Raises:
        UsageError: a record cannot be read.
    """
    for text in recorded:
        try:
            document = json.loads(text)
            if "objective" in document:
                found = Objective(**document["objective"])
                _recorded[found.name] = found
        except (ValueError, TypeError):
            raise UsageError(f"the run's record of an objective cannot be read: {text[:60]!r}") from None


def check_objectives(names: Sequence[str], anchors: Sequence[str]) -> None:
    """Raises UsageError for a list of objectives that is empty, repeats itself or names something unknown."""
    if not names:
        raise UsageError("at least one objective is needed; 'anchors' stands for the accuracy on each anchor")
    for name in names:
        known = name == ANCHORS or name in anchors or name in OBJECTIVES or name in _recorded
        if not known and not is_reference(name) and OWN.entry_point(name) is None:
            raise unknown("objective", name, (ANCHORS, *anchors, *OBJECTIVES))
    accuracies = [name for name in names if name in anchors]
    if len(set(names)) < len(names) or (ANCHORS in names and accuracies):
        raise UsageError(f"an objective is named twice: {', '.join(names)}")


def measured(names: Sequence[str], anchors: Sequence[str] = ()) -> tuple[Objective, ...]:
    """Those of a run's objectives that workers measure beside the accuracies, in the order of the list."""
    return tuple(objective_named(name) for name in names if name != ANCHORS and name not in anchors)


def fitness(evaluations: Sequence[Evaluation], names: Sequence[str]) -> Fitness:
    """The objectives of scored candidates, one row each, higher is better.

    Args:
        evaluations: of scored candidates of one run.
        names: the run's objectives, in the order of the columns; "anchors" takes one for each anchor.
    """
    rows = []
    for evaluation in evaluations:
        row: list[float] = []
        for name in names:
            if name == ANCHORS:
                row += evaluation.scores.values()
            elif name in evaluation.scores:
                row.append(evaluation.scores[name])
            else:
                value = evaluation.measures[name]
                row.append(value if objective_named(name).higher_is_better else -value)
        rows.append(row)
    return np.array(rows, dtype=np.float64)
