"""The results of a run: the best layers, the Pareto front, and documents for JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evonas.errors import StorageError, shorten
from evonas.judging.families import family_of
from evonas.judging.floors import run_floors, turned_away
from evonas.judging.selection import pareto_front
from evonas.language.expression import MAX_TEXT
from evonas.language.zoo import NAMES_BY_KEY
from evonas.records.coordinator import KILLED, state
from evonas.records.evidence import best_known, best_of_families
from evonas.records.run_info import RunStatus
from evonas.records.time_breakdown import breakdown
from evonas.settings.candidate import Candidate, Evaluation
from evonas.settings.objectives import OBJECTIVES, Objective, objective_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evonas.language.graph import Graph
    from evonas.records.coordinator import Coordinator
    from evonas.records.run_info import RunInfo, RunSummary
    from evonas.records.store import Store

AMONG = 500
"""Of how many of the best layers of a run the best of each family are sought."""


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A scored candidate as a row of results.

    Attributes:
        id: "RUN/INDEX", by which commands refer to it.
        expression: the canonical form as text.
        name: the name of the published layer that it equals, or None.
        family: what it does, as text (`evonas.judging.families.Family`).
        scores: accuracies in 0..1 by anchor.
        mean: the mean of the scores.
        measures: values of further objectives of the run, by name.
        longer: the mean scores on the rungs of longer training that it reached, by steps; of rungs with equal steps, on
            the last.
        longer_on: the anchors of those rungs that train on others than the run's, or on some of them alone, by steps.
        longer_at: the learning rates of those rungs that train at another than the run's, by steps.
        graph: the canonical form.
        space: the name of the run's search space.
        plugins: the run's `EvaluationProtocol.plugins`.
    """

    id: str
    expression: str
    name: str | None
    family: str
    scores: Mapping[str, float]
    mean: float
    measures: Mapping[str, float]
    graph: Graph
    space: str
    plugins: tuple[str, ...] = ()
    longer: Mapping[int, float] = field(default_factory=dict)
    longer_on: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    longer_at: Mapping[int, float] = field(default_factory=dict)

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of `measures`, in their order."""
        return tuple(objective_named(name, self.plugins) for name in self.measures)

    def as_dict(self) -> dict[str, Any]:
        """The row as a document for JSON."""
        return {
            "id": self.id,
            "expression": self.expression,
            "name": self.name,
            "family": self.family,
            "scores": dict(self.scores),
            "mean": self.mean,
            "measures": dict(self.measures),
            "longer": {str(steps): score for steps, score in self.longer.items()},
            "longer_on": {str(steps): list(anchors) for steps, anchors in self.longer_on.items()},
            "longer_at": {str(steps): lr for steps, lr in self.longer_at.items()},
            "graph": json.loads(self.graph.to_json(self.space)),
        }

    def _repr_html_(self) -> str:
        """The formula, the family and the scores, as a notebook shows them."""
        from evonas.language.graph_html import graph_html
        from evonas.notebook import paragraph, table

        longer = {f"{steps} steps": score for steps, score in self.longer.items()}
        further = {one.name: one.written(self.measures[one.name]) for one in self.objectives}
        shown: dict[str, str | float | None] = {"mean": self.mean, **self.scores, **longer, **further}
        known = f" ({self.name})" if self.name else ""
        about = paragraph(f"layer {self.id}{known}: {self.family}")
        return graph_html(self.graph, about, table(list(shown), [list(shown.values())]))


def result_row(run: RunInfo, candidate: Candidate, evaluation: Evaluation, longer: Sequence[float] = ()) -> ResultRow:
    """The row of a scored candidate.

    Args:
        run: its run.
        candidate, evaluation: the candidate, and its evaluation.
        longer: its mean scores on the rungs that it reached, from the first on.

    Raises:
        StorageError: the evaluation lacks an anchor of the run, or has an objective that the run does not.
    """
    _check(run, evaluation)
    graph = candidate.graph.canonical
    name = NAMES_BY_KEY.get(candidate.key)
    reached = [(run.config.on_rung(rung), score) for rung, score in enumerate(longer, 1)]
    rungs = {protocol.steps: (protocol, score) for protocol, score in reached}
    usual = run.config.protocol
    return ResultRow(
        id=f"{run.id}/{candidate.index}",
        expression=graph.written(MAX_TEXT),
        name=name,
        family=str(family_of(graph)),
        scores=evaluation.scores,
        mean=evaluation.mean,
        measures=evaluation.measures,
        graph=graph,
        space=run.config.space.name,
        plugins=run.config.protocol.plugins,
        longer={steps: score for steps, (_, score) in rungs.items()},
        longer_on={steps: rung.anchors for steps, (rung, _) in rungs.items() if rung.anchors != usual.anchors},
        longer_at={steps: rung.lr for steps, (rung, _) in rungs.items() if rung.lr != usual.lr},
    )


def _check(run: RunInfo, evaluation: Evaluation) -> None:
    protocol = run.config.protocol
    wrong = [name for name in evaluation.measures if name not in (*OBJECTIVES, *protocol.objectives)]
    wrong += [name for name in protocol.anchors if evaluation.scores and name not in evaluation.scores]
    if wrong:
        raise StorageError(
            f"candidate {evaluation.index} of run {run.id} is damaged: "
            f"{shorten(wrong[0])} does not match the run's protocol"
        )


def best(store: Store, run_id: int, limit: int = 10) -> list[ResultRow]:
    """The `limit` best candidates by all of their trainings in the search (`evonas.records.evidence`), best first."""
    run = store.run(run_id)
    return [result_row(run, *known) for known in best_known(store, run, limit)]


def leaders(store: Store, run_id: int, limit: int = 10) -> list[ResultRow]:
    """The best layer of each family, best first, for at most `limit` families.

    They are found among the `AMONG` best candidates, so that a large run is not read whole.
    """
    run = store.run(run_id)
    return [result_row(run, *known) for known in best_of_families(store, run, limit, AMONG)]


def best_by_family(store: Store, run_id: int, limit: int = 10) -> list[ResultRow]:
    """The best layer of each family, best first, and after them, as far as `limit` allows, the best of the others."""
    first = leaders(store, run_id, limit)
    shown = {row.id for row in first}
    others = [row for row in best(store, run_id, limit) if row.id not in shown] if len(first) < limit else []
    return [*first, *others[: limit - len(first)]]


def pareto(store: Store, run_id: int) -> list[ResultRow]:
    """The scored candidates that no other dominates in the objectives of the run, best mean first."""
    run = store.run(run_id)
    indices, fitness = store.objectives(run_id, run.config.protocol.objectives)
    if not indices:
        return []
    pairs = store.pairs(run_id, [indices[i] for i in pareto_front(fitness)])
    return [result_row(run, *pair) for pair in sorted(pairs, key=lambda pair: (-pair[1].mean, pair[1].index))]


def of_graph(graph: Graph) -> dict[str, Any]:
    """What is known of any layer, as a document for JSON."""
    canonical = graph.canonical
    return {
        "expression": canonical.written(MAX_TEXT),
        "name": NAMES_BY_KEY.get(canonical.key),
        "family": str(family_of(canonical)),
        "latex": canonical.latex(),
        "graph": json.loads(canonical.to_json()),
        "key": canonical.key,
    }


def details(store: Store, run_id: int, index: int) -> dict[str, Any]:
    """Everything recorded about one candidate, as a document for JSON."""
    candidate, evaluation = store.candidate(run_id, index), store.evaluation(run_id, index)
    run = store.run(run_id)
    graph, space = candidate.graph.canonical, run.config.space.name
    document: dict[str, Any] = {
        "id": f"{run_id}/{index}",
        "expression": graph.written(MAX_TEXT),
        "name": NAMES_BY_KEY.get(candidate.key),
        "family": str(family_of(graph)),
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
        document |= {
            "status": evaluation.status.value,
            "reason": evaluation.reason,
            "scores": dict(evaluation.scores),
            "mean": evaluation.mean if evaluation.scores else None,
            "measures": dict(evaluation.measures),
            "longer": _longer(store, run, index),
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
    return document


def _longer(store: Store, run: RunInfo, index: int) -> list[dict[str, Any]]:
    """The longer trainings of a candidate in the search, shortest first; a score of None stands for one that failed."""
    rungs = [run.config.on_rung(rung) for rung, _ in enumerate(run.config.rungs, 1)]
    rates = {(rung.steps, rung.seed): rung.lr for rung in rungs}
    found: dict[tuple[int, int], dict[str, float | None]] = {}
    for one in store.rung_trainings(run.id):
        if one.layer == index:
            found.setdefault((one.steps, one.seed), {})[one.anchor] = None if one.failed else one.score
    return [{"steps": of[0], "seed": of[1], "lr": rates[of], "scores": scores} for of, scores in sorted(found.items())]


def short_of_budget(run: RunInfo, summary: RunSummary) -> str:
    """Why a finished search judged fewer candidates than its budget, as a sentence; empty if it did not."""
    config = run.config
    if run.status is not RunStatus.FINISHED or summary.candidates >= config.budget:
        return ""
    judged = f"{summary.candidates:,} of {config.budget:,} candidates"
    if config.core_minutes is not None and summary.core_seconds >= 60 * config.core_minutes:
        return (
            f"The search ended at its limit of {config.core_minutes:g} core-minutes, with {judged}; "
            "`--core-minutes` changes the limit."
        )
    return f"The search ended with {judged}: no further graph of the space passed the cheap filters."


def status(run: RunInfo, summary: RunSummary, coordinator: Coordinator | None = None) -> dict[str, Any]:
    """The totals of a run, as a document for JSON."""
    return {
        "run": run.id,
        "status": run.status.value,
        "killed": state(run.status, coordinator) == KILLED,
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
        "published": _published(run, summary.candidates > 0),
    }


def _published(run: RunInfo, drawn: bool) -> dict[str, Any]:
    """The floors of a run, what published layers have at its filters, and which it would reject, for JSON."""
    protocol = run.config.protocol
    # Floors that follow from published layers are final once a candidate has been drawn.
    known = drawn or protocol.floors == "absolute"
    floors = (run_floors(protocol, run.checkpoints, run.config.floor_layers) if known else None) or {}
    away = (turned_away(name, values, protocol, floors) for name, values in run.checkpoints.items())
    return {
        "floors": dict(floors),
        "checkpoints": {name: {v.checkpoint: v.value for v in values} for name, values in run.checkpoints.items()},
        "turned_away": {one.layer: {"filter": one.filter, "reason": one.reason} for one in away if one is not None},
    }


def references_as_rows(
    references: Mapping[str, Mapping[str, float]],
) -> Sequence[tuple[str, Mapping[str, float]]]:
    """Published layers and their scores, best mean first."""
    return sorted(references.items(), key=lambda item: -sum(item[1].values()))
