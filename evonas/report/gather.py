"""Reading a run into one value, which the page and the pictures share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evonas.judging.selection import pareto_front
from evonas.records.results import ResultRow, row
from evonas.records.run_info import RunInfo, RunSummary
from evonas.records.store import Store
from evonas.records.time_breakdown import breakdown
from evonas.report.funnel import Filtered, funnel
from evonas.report.lineage import Ancestor, lineage
from evonas.report.progress import ProgressStep, finite, progress
from evonas.report.response_curve import ResponseCurve, response
from evonas.report.standing import Standing, standings
from evonas.report.times import Clock, clocks
from evonas.settings.candidate import Evaluation, Status
from evonas.settings.objectives import ANCHORS, fitness, objective_named

if TYPE_CHECKING:
    from evonas.kernels.plan.plan import Plan


_UNITS = {"seconds": ("ms", 1e3), "bytes": ("MiB", 2.0**-20), "accuracy": ("", 1.0)}


@dataclass(frozen=True, slots=True)
class Axis:
    """Something that candidates are shown by.

    Attributes:
        name: of an anchor or an objective.
        unit: of its values; empty for an accuracy.
        factor: of its recorded values.
        higher_is_better: its direction.
    """

    name: str
    unit: str
    factor: float
    higher_is_better: bool

    @property
    def label(self) -> str:
        """The name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, slots=True)
class ScoredPoint:
    """A scored candidate among all others.

    Attributes:
        index: of the candidate.
        expression: its canonical form as text, cut where it is long.
        mean: its mean score.
        values: on each axis of the report, in their order; None where it is no finite number.
        front: whether no other candidate beats it on every objective of the run.
    """

    index: int
    expression: str
    mean: float
    values: tuple[float | None, ...]
    front: bool


@dataclass(frozen=True, slots=True)
class Top:
    """One of the best layers.

    Attributes:
        row: the layer and its scores.
        standing: the same beside trainings after the search.
        response: its curve.
        plan: how its kernels compute it while a network is trained.
    """

    row: ResultRow
    standing: Standing
    response: ResponseCurve
    plan: Plan


@dataclass(frozen=True)
class Report:
    """Everything that the page and the pictures show of a run.

    Attributes:
        run, summary: the run and its totals.
        read: when the store was read, in UTC.
        steps: progress over compute.
        axes: what candidates are shown by: the anchors, then the measures of the run's objectives.
        points: the scored candidates, by index.
        filters: what each rejected.
        times: where the time went, by clock.
        tree: the family of the best layers.
        top: the best layers, best first.
        published: published layers under the run's protocol, best first.
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
    top: Sequence[Top]
    published: Sequence[Standing]

    @property
    def anchors(self) -> tuple[str, ...]:
        """Those of the run."""
        return self.run.config.protocol.anchors


def gather(store: Store, run_id: int, top: int = 5) -> Report:
    """Reads a run, which may still be going on, in short transactions.

    Args:
        store: where it is recorded.
        run_id: the run.
        top: how many of the best layers are looked at closely.

    Raises:
        UsageError: when there is no such run.
    """
    run = store.run(run_id)
    evaluations = {e.index: e for e in store.evaluations(run_id)}
    candidates = {c.index: c for c in store.candidates(run_id)}
    best = [row(run, *pair) for pair in store.best(run_id, top)]
    indices = [int(one.id.rpartition("/")[2]) for one in best]
    scores = list(zip(indices, (one.scores for one in best), strict=True))
    found, published = standings(run, scores, store.retrainings(run_id))
    axes = _axes(run)
    scored = [e for e in evaluations.values() if e.status is Status.SCORED]
    front = _front(scored, run.config.protocol.objectives)
    points = [
        ScoredPoint(e.index, candidates[e.index].graph.canonical.written(), e.mean, _values(e, axes), e.index in front)
        for e in scored
    ]
    summary = store.summary(run_id)
    return Report(
        run,
        summary,
        datetime.now(UTC),
        progress(evaluations.values(), run.config.protocol.anchors),
        axes,
        points,
        funnel(summary),
        clocks(breakdown(run, summary)),
        lineage(indices, candidates, evaluations),
        [look(one, standing) for one, standing in zip(best, found, strict=True)],
        published,
    )


def look(found: ResultRow, standing: Standing) -> Top:
    """A layer, looked at closely."""
    from evonas.kernels.plan.planner import plan_of

    return Top(found, standing, response(found.graph), plan_of(found.graph))


def _axes(run: RunInfo) -> list[Axis]:
    """The anchors, then what else the run selects by, in units that people read."""
    axes = [Axis(anchor, "", 1.0, True) for anchor in run.config.protocol.anchors]
    for name in run.config.protocol.objectives:
        if name != ANCHORS and name not in run.config.protocol.anchors:
            objective = objective_named(name)
            unit, factor = _UNITS.get(objective.unit, (objective.unit, 1.0))
            axes.append(Axis(name, unit, factor, objective.higher_is_better))
    return axes


def _values(evaluation: Evaluation, axes: Sequence[Axis]) -> tuple[float | None, ...]:
    known = {**evaluation.measures, **evaluation.scores}
    return tuple(finite(known[axis.name] * axis.factor) if axis.name in known else None for axis in axes)


def _front(scored: Sequence[Evaluation], objectives: Sequence[str]) -> set[int]:
    if not scored:
        return set()
    return {scored[i].index for i in pareto_front(fitness(scored, objectives or (ANCHORS,)))}
