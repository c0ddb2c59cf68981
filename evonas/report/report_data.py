"""Reads a run from a store into one value, which the page and the pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evonas.judging.selection import pareto_front
from evonas.records.results import ResultRow, best_by_family, result_row
from evonas.records.run_info import RunInfo, RunSummary
from evonas.records.store import Store
from evonas.records.time_breakdown import breakdown
from evonas.report.family_shares import FamilyShares, family_shares
from evonas.report.funnel import Filtered, funnel
from evonas.report.layer_scores import LayerScores, layer_scores
from evonas.report.lineage import Ancestor, lineage
from evonas.report.longer_trainings import LongerTrainings, longer_trainings
from evonas.report.progress import ProgressStep, finite, progress
from evonas.report.response_curve import ResponseCurve, response
from evonas.report.times import Clock, clocks
from evonas.reruns.verdict import Verdict, verdict_of
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol
from evonas.settings.objectives import fitness, measured_objectives

if TYPE_CHECKING:
    from evonas.kernels.plan.plan import Plan


_UNITS = {"seconds": ("ms", 1e3), "bytes": ("MiB", 2.0**-20), "accuracy": ("", 1.0)}
_AMONG, _OTHERS = 60, 4
"""Among how many of the best scores of the search others of a family are sought, and how many of them are shown."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An anchor or objective that the scored candidates are plotted by.

    Attributes:
        name: the name of the anchor or objective.
        unit: the unit of the plotted values; empty for an accuracy.
        factor: what recorded values are multiplied by for that unit.
        higher_is_better: whether higher values are better.
    """

    name: str
    unit: str
    factor: float
    higher_is_better: bool

    @property
    def label(self) -> str:
        """The name, followed by the unit in parentheses if there is one."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A scored candidate.

    Attributes:
        index: the candidate's index.
        expression: its canonical form as text, truncated if it is long.
        mean: its mean score.
        values: its value on each axis of the report, in their order; None for a missing, infinite or NaN value.
        front: whether it is on the Pareto front of the run's objectives.
    """

    index: int
    expression: str
    mean: float
    values: tuple[float | None, ...]
    front: bool


@dataclass(frozen=True, slots=True)
class TopLayer:
    """One of the best layers.

    Attributes:
        row: the layer and its scores in the search.
        scores: its scores in the search and in trainings after it.
        response: its response curve.
        plan: the plan of its kernels for training.
        others: the next best layers of its family, of those that are not described themselves.
    """

    row: ResultRow
    scores: LayerScores
    response: ResponseCurve
    plan: Plan
    others: Sequence[ResultRow] = ()


@dataclass(frozen=True)
class Report:
    """Everything that the page and the pictures show about a run.

    Attributes:
        run, summary: the run and its totals.
        read: when the store was read, in UTC.
        steps: the progress of the search over compute.
        axes: the anchors, then the other objectives of the run.
        points: the scored candidates, in order of index.
        filters: what each filter rejected.
        times: where the time went, by clock.
        tree: the family tree of the best layers.
        top: the best layers: the best of each family, best first, and if there is room, the best of the others; those
            of a family stand together.
        published: the published layers and their scores, best first.
        longer: the longer trainings of the search.
        families: the families of the scored candidates.
        verdict: whether the best of the verified layers is better than published ones; None if none was verified.
    """

    run: RunInfo
    summary: RunSummary
    read: datetime
    steps: Sequence[ProgressStep]
    axes: Sequence[Axis]
    points: Sequence[ScoredPoint]
    filters: Sequence[Filtered]
    times: Sequence[Clock]
    tree: Sequence[Ancestor]
    top: Sequence[TopLayer]
    published: Sequence[LayerScores]
    longer: LongerTrainings
    families: FamilyShares
    verdict: Verdict | None = None

    @property
    def anchors(self) -> tuple[str, ...]:
        """The anchors of the run."""
        return self.run.config.protocol.anchors


def read_report(store: Store, run_id: int, top: int = 5) -> Report:
    """Reads a run, which may still be in progress, in short transactions.

    Args:
        store: the store that holds the run.
        run_id: the run's number.
        top: how many of the best layers to describe in detail, one of each family first.

    Raises:
        UsageError: if the store has no such run.
    """
    run = store.run(run_id)
    evaluations = {e.index: e for e in store.evaluations(run_id)}
    candidates = {c.index: c for c in store.candidates(run_id)}
    best = _by_family(best_by_family(store, run_id, top))
    indices = [int(one.id.rpartition("/")[2]) for one in best]
    scores = list(zip(indices, (one.scores for one in best), strict=True))
    scores_of_best, published = layer_scores(run, scores, store.retrainings(run_id))
    axes = _axes(run)
    scored = [e for e in evaluations.values() if e.status is Status.SCORED]
    front = _front(scored, run.config.protocol)
    points = [
        ScoredPoint(e.index, candidates[e.index].graph.canonical.written(), e.mean, _values(e, axes), e.index in front)
        for e in scored
    ]
    summary = store.summary(run_id)
    longer = longer_trainings(run.config, scored, store.rung_trainings(run_id))
    known = [result_row(run, *pair, longer.paths.get(pair[0].index, ())[1:]) for pair in store.best(run_id, _AMONG)]
    others = _others(best, known)
    return Report(
        run=run,
        summary=summary,
        read=datetime.now(UTC),
        steps=progress(evaluations.values(), run.config.protocol.anchors),
        axes=axes,
        points=points,
        filters=funnel(summary),
        times=clocks(breakdown(run, summary)),
        tree=lineage(indices, candidates, evaluations),
        top=[_top_layer(one, scores, others.get(one.id, ())) for one, scores in zip(best, scores_of_best, strict=True)],
        published=published,
        longer=longer,
        families=family_shares(candidates, scored, longer.paths.keys()),
        verdict=verdict_of(store, run_id),
    )


def _by_family(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The rows in order, but those of a family behind the first of it."""
    families = list(dict.fromkeys(row.family for row in rows))
    return sorted(rows, key=lambda row: families.index(row.family))


def _others(top: Sequence[ResultRow], known: Sequence[ResultRow]) -> dict[str, list[ResultRow]]:
    """The next best in the search of the families of some layers, by the id of the last of each family."""
    last, described = {row.family: row.id for row in top}, {row.id for row in top}
    found: dict[str, list[ResultRow]] = {}
    for row in known:
        if row.id not in described and row.family in last:
            found.setdefault(last[row.family], []).append(row)
    return {id_: rows[:_OTHERS] for id_, rows in found.items()}


def _top_layer(found: ResultRow, scores: LayerScores, others: Sequence[ResultRow]) -> TopLayer:
    from evonas.kernels.plan.planner import plan_of

    return TopLayer(found, scores, response(found.graph), plan_of(found.graph), others)


def _axes(run: RunInfo) -> list[Axis]:
    """The anchors, then the other objectives of the run, in readable units."""
    axes = [Axis(anchor, "", 1.0, True) for anchor in run.config.protocol.anchors]
    protocol = run.config.protocol
    for objective in measured_objectives(protocol.objectives, protocol.anchors, protocol.plugins):
        unit, factor = _UNITS.get(objective.unit, (objective.unit, 1.0))
        axes.append(Axis(objective.name, unit, factor, objective.higher_is_better))
    return axes


def _values(evaluation: Evaluation, axes: Sequence[Axis]) -> tuple[float | None, ...]:
    known = {**evaluation.measures, **evaluation.scores}
    return tuple(finite(known[axis.name] * axis.factor) if axis.name in known else None for axis in axes)


def _front(scored: Sequence[Evaluation], protocol: EvaluationProtocol) -> set[int]:
    if not scored:
        return set()
    return {scored[i].index for i in pareto_front(fitness(scored, protocol.objectives, protocol.plugins))}
