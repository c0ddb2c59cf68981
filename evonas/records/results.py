"""Reading a run: the best layers, the Pareto front, and each candidate as a row to print or export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evonas.errors import StorageError, shorten
from evonas.judging.selection import pareto_front
from evonas.language.expression import MAX_TEXT
from evonas.language.zoo import NAMES_BY_KEY
from evonas.records.time_breakdown import breakdown
from evonas.settings.candidate import Candidate, Evaluation
from evonas.settings.objectives import OBJECTIVES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evonas.language.graph import Graph
    from evonas.records.coordinator_claim import Coordinator
    from evonas.records.run_info import RunInfo, RunSummary
    from evonas.records.store import Store


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A scored candidate, as results show it.

    Attributes:
        id: "RUN/INDEX", which commands take.
        expression: the canonical form as text.
        name: of the published layer that it is, if it is one.
        scores: by anchor.
        mean: of the scores.
        measures: further objectives of the run, by name.
        graph: the canonical form.
        space: the name of the run's search space.
    """

    id: str
    expression: str
    name: str | None
    scores: Mapping[str, float]
    mean: float
    measures: Mapping[str, float]
    graph: Graph
    space: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "expression": self.expression,
            "name": self.name,
            "scores": dict(self.scores),
            "mean": self.mean,
            "measures": dict(self.measures),
            "graph": json.loads(self.graph.to_json(self.space)),
        }


def row(run: RunInfo, candidate: Candidate, evaluation: Evaluation) -> ResultRow:
    """The row of a scored candidate.

    Raises:
        StorageError: it is scored on other anchors than its run's, or by objectives that there are none of.
    """
    _check(run, evaluation)
    graph = candidate.graph.canonical
    name = NAMES_BY_KEY.get(candidate.key)
    label = f"{run.id}/{candidate.index}"
    text = graph.written(MAX_TEXT)
    return ResultRow(
        label, text, name, evaluation.scores, evaluation.mean, evaluation.measures, graph, run.config.space.name
    )


def _check(run: RunInfo, evaluation: Evaluation) -> None:
    protocol = run.config.protocol
    strange = [name for name in evaluation.measures if name not in (*OBJECTIVES, *protocol.objectives)]
    strange += [name for name in protocol.anchors if evaluation.scores and name not in evaluation.scores]
    if strange:
        raise StorageError(
            f"candidate {evaluation.index} of run {run.id} is damaged: {shorten(strange[0])} is not as the run has it"
        )


def best(store: Store, run_id: int, limit: int = 10) -> list[ResultRow]:
    """The candidates with the highest mean score, best first."""
    run = store.run(run_id)
    return [row(run, *pair) for pair in store.best(run_id, limit)]


def pareto(store: Store, run_id: int) -> list[ResultRow]:
    """The scored candidates that no other beats on every objective of the run, best mean first."""
    run = store.run(run_id)
    indices, fitness = store.objectives(run_id, run.config.protocol.objectives)
    if not indices:
        return []
    pairs = store.pairs(run_id, [indices[i] for i in pareto_front(fitness)])
    return [row(run, *pair) for pair in sorted(pairs, key=lambda pair: (-pair[1].mean, pair[1].index))]


def details(store: Store, run_id: int, index: int) -> dict[str, Any]:
    """Everything recorded of one candidate, for JSON."""
    candidate, evaluation = store.candidate(run_id, index), store.evaluation(run_id, index)
    run = store.run(run_id)
    graph, space = candidate.graph.canonical, run.config.space.name
    known: dict[str, Any] = {
        "id": f"{run_id}/{index}",
        "expression": graph.written(MAX_TEXT),
        "name": NAMES_BY_KEY.get(candidate.key),
        "latex": graph.latex(),
        "graph": json.loads(graph.to_json(space)),
        "drawn": json.loads(candidate.graph.to_json(space)),
        "key": candidate.key,
        "functional_key": candidate.functional_key,
        "origin": candidate.origin.kind.value,
        "parent": None if candidate.origin.parent is None else f"{run_id}/{candidate.origin.parent}",
        "mutations": list(candidate.origin.mutations),
        "status": "pending",
    }
    if evaluation is not None:
        _check(run, evaluation)
        known |= {
            "status": evaluation.status.value,
            "reason": evaluation.reason,
            "scores": dict(evaluation.scores),
            "mean": evaluation.mean if evaluation.scores else None,
            "measures": dict(evaluation.measures),
            "attempts": evaluation.attempts,
            "training_seconds": dict(evaluation.seconds),
            "filters": [
                {
                    "name": f.name,
                    "accepted": f.accepted,
                    "reason": f.reason,
                    "value": f.value,
                    "seconds": f.seconds,
                }
                for f in evaluation.filters
            ],
        }
    return known


def status(run: RunInfo, summary: RunSummary, coordinator: Coordinator | None = None) -> dict[str, Any]:
    """A run in totals, for JSON."""
    return {
        "run": run.id,
        "status": run.status.value,
        "coordinator": None if coordinator is None else coordinator.as_dict(),
        "space": run.config.space.name,
        "strategy": run.config.strategy,
        "seed": run.config.seed,
        "budget": run.config.budget,
        "created": run.created.isoformat(),
        "elapsed": run.elapsed,
        "candidates": summary.candidates,
        "evaluations": {kind.value: count for kind, count in summary.statuses.items()},
        "discarded": dict(summary.discarded),
        "filters": {
            name: {
                "judged": f.judged,
                "rejected": f.rejected,
                "seconds": f.seconds,
                "reasons": dict(f.reasons),
            }
            for name, f in summary.filters.items()
        },
        "seconds": {"drawing": dict(summary.drawing), "training": dict(summary.training)},
        "time": breakdown(run, summary).as_dict(),
        "retries": summary.retries,
        "references": {name: dict(scores) for name, scores in run.references.items()},
    }


def references_as_rows(
    references: Mapping[str, Mapping[str, float]],
) -> Sequence[tuple[str, Mapping[str, float]]]:
    """Published layers and their scores, best mean first."""
    return sorted(references.items(), key=lambda item: -sum(item[1].values()))
