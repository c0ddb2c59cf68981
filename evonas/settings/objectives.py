"""The objectives that candidates are selected by: accuracies, and further objectives by name.

A run's protocol lists its objectives: ``"anchors"`` stands for the accuracy on each anchor, an anchor's own name for
the accuracy on that one, and the names of `OBJECTIVES` for further measurements. Workers take these measurements
(`workers/trial/objective_measures.py`). Selection sees one number for each objective, negated where lower is better.

A run records its user's own objectives in `EvaluationProtocol.plugins`. Functions here that take `plugins` find them
there, so that results can be read without the user's files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
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

ANCHOR_ACCURACIES = "anchors"
"""The name that stands for the accuracy on each anchor."""


@dataclass(frozen=True, slots=True)
class Objective:
    """An objective other than accuracy.

    Attributes:
        name: what users write.
        unit: the unit of its values.
        higher_is_better: whether selection prefers higher values.
        meaning: one sentence that explains it.
        reproducible: whether the same layer always gives the same value; where it does not, the candidates that a
            run draws differ from one execution to the next.
        measure: for a user's own objective, the function that computes its value from a `Trial`
            (`workers/trial/trial.py`) on a worker.
    """

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    reproducible: bool = True
    measure: Callable[[Any], float] | None = None

    def written(self, value: float) -> str:
        """A value as short text with its unit, for people."""
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
        "What autograd saves for the backward pass of one training step of the first anchor, without the weights.",
    ),
)

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({row.name: row for row in _ROWS})


def reported(name: str) -> Callable[[Any], float]:
    """A function `measure` that takes a number which a training loop of the user's own returned beside the score.

    Args:
        name: the key in the mapping that the loop returns.
    """

    def measure(trial: Any) -> float:
        if name not in trial.reported:
            known = ", ".join(trial.reported) or "nothing"
            raise UsageError(f"the training loop returned {known}, but no {name!r}")
        return float(trial.reported[name])

    return measure


def _user_objective(text: str, found: object) -> Objective | None:
    """A user's objective under the name that the run refers to it by."""
    if isinstance(found, Objective) and callable(found.measure):
        return replace(found, name=text)
    return None


OBJECTIVE_REGISTRY = Registry(
    "objective", OBJECTIVES, _user_objective, "an evonas.settings.objectives.Objective with a function `measure`"
)


def objective_named(name: str, plugins: Sequence[str] = ()) -> Objective:
    """The objective with this name. One that comes from the run's record has no function `measure`.

    Args:
        name: the name.
        plugins: `EvaluationProtocol.plugins` of the run.

    Raises:
        UsageError: there is no such objective.
    """
    found = _recorded_objectives(tuple(plugins)).get(name)
    return OBJECTIVE_REGISTRY.find(name) if found is None else found


def objective_record(objective: Objective) -> str:
    """What a run records of a user's objective, as JSON."""
    fields = ("name", "unit", "higher_is_better", "meaning", "reproducible")
    return json.dumps({"objective": {field: getattr(objective, field) for field in fields}})


@cache
def _recorded_objectives(plugins: tuple[str, ...]) -> Mapping[str, Objective]:
    """The objectives that a run recorded, by name; UsageError where a record cannot be read."""
    recorded: dict[str, Objective] = {}
    for text in plugins:
        try:
            document = json.loads(text)
            if "objective" in document:
                found = Objective(**document["objective"])
                recorded[found.name] = found
        except (ValueError, TypeError):
            raise UsageError(f"the run's record of an objective cannot be read: {text[:60]!r}") from None
    return recorded


def check_objectives(names: Sequence[str], anchors: Sequence[str], plugins: Sequence[str] = ()) -> None:
    """Check a protocol's list of objectives.

    Args:
        names: the list.
        anchors: the protocol's anchors.
        plugins: the protocol's `plugins`.

    Raises:
        UsageError: the list is empty, names an objective twice or an unknown one, or a record cannot be read.
    """
    recorded = _recorded_objectives(tuple(plugins))
    if not names:
        raise UsageError("at least one objective is needed; 'anchors' stands for the accuracy on each anchor")
    for name in names:
        known = name == ANCHOR_ACCURACIES or name in anchors or name in OBJECTIVES or name in recorded
        if not known and not is_reference(name) and OBJECTIVE_REGISTRY.entry_point(name) is None:
            raise unknown("objective", name, (ANCHOR_ACCURACIES, *anchors, *OBJECTIVES))
    accuracies = [name for name in names if name in anchors]
    if len(set(names)) < len(names) or (ANCHOR_ACCURACIES in names and accuracies):
        raise UsageError(f"an objective is named twice: {', '.join(names)}")


def measured_objectives(
    names: Sequence[str], anchors: Sequence[str] = (), plugins: Sequence[str] = ()
) -> tuple[Objective, ...]:
    """The objectives that are not accuracies, in the order of the list.

    Args:
        names: a run's objectives.
        anchors: its anchors.
        plugins: its `EvaluationProtocol.plugins`.

    Raises:
        UsageError: there is no objective with one of the names.
    """
    return tuple(objective_named(name, plugins) for name in names if name != ANCHOR_ACCURACIES and name not in anchors)


def fitness(evaluations: Sequence[Evaluation], names: Sequence[str], plugins: Sequence[str] = ()) -> Fitness:
    """The objectives of scored candidates as an array of float64, candidates × objectives; higher is better.

    Args:
        evaluations: evaluations of scored candidates of one run.
        names: the run's objectives, in the order of the columns; "anchors" takes one column for each anchor.
        plugins: the run's `EvaluationProtocol.plugins`.
    """
    rows = []
    for evaluation in evaluations:
        row: list[float] = []
        for name in names:
            if name == ANCHOR_ACCURACIES:
                row += evaluation.scores.values()
            elif name in evaluation.scores:
                row.append(evaluation.scores[name])
            else:
                value = evaluation.measures[name]
                row.append(value if objective_named(name, plugins).higher_is_better else -value)
        rows.append(row)
    return np.array(rows, dtype=np.float64)
