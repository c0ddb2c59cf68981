"""The report as one self-contained HTML page with its style sheet, script and data; it makes no request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evonas.language.mathml import mathml
from evonas.language.zoo import zoo
from evonas.records.retraining import RetrainingStage
from evonas.records.run_info import RunStatus
from evonas.report.family_tree_svg import lanes_svg, lanes_width
from evonas.report.graph_svg import graph_svg
from evonas.report.number_format import accuracy, duration, mebibytes
from evonas.report.report_data import Report, TopLayer
from evonas.report.score_dots import dots
from evonas.reruns.verdict_words import UNVERIFIED
from evonas.settings.candidate import Status

_SHAPE = (128, 64, 32, 32)
"""The shape of the activations for which the memory traffic is given in bytes."""
_PATHS = 300  # candidates whose scores are followed from rung to rung; more lines could not be told apart
_SCORED_ON = {
    RetrainingStage.TEST: "scored on images that chose nothing",
    RetrainingStage.HELD_OUT: "scored on held-out images",
}
"""Where layers are scored that are trained again on the training split, or on what is left of it."""

_FRAME = Markup('<iframe srcdoc="{}" style="width: 100%; height: 80vh; border: 0" sandbox="allow-scripts"></iframe>')


class Page(str):
    """The text of a page; a notebook shows it in a frame of its own, so that neither changes the other's looks."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _FRAME.format(str(self))


def page(report: Report) -> Page:
    """Renders a report as an HTML page."""
    environment = Environment(
        loader=PackageLoader("evonas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "accuracy": accuracy, "mebibytes": mebibytes}
    shown = _shown(report)
    text = environment.get_template("report.html.j2").render(
        report=report,
        run=report.run,
        config=report.run.config,
        summary=report.summary,
        scored=report.summary.statuses[Status.SCORED],
        failed=report.summary.statuses[Status.FAILED],
        running=report.run.status is RunStatus.RUNNING,
        published=report.published,
        headline=_headline(report),
        unverified=UNVERIFIED,
        hero=None if shown is None else _card(report, shown),
        reference=_compared_with(report, shown),
        shares={one.name: one.share for one in report.families.shares},
        top=[_card(report, one) for one in report.top],
        front=sorted((point for point in report.points if point.front), key=lambda point: -point.mean),
        core_seconds=report.times[0].total if report.times else 0.0,
        lanes=lanes_svg(report.tree),
        lanes_width=lanes_width(report.tree),
        shape=" × ".join(map(str, _SHAPE)),
        data=data(report),
    )
    return Page(text)


def data(report: Report) -> dict[str, Any]:
    """The data that the page's charts are drawn from, column by column to keep it small."""
    references = report.run.references
    return {
        "run": report.run.id,
        "anchors": report.anchors,
        "axes": [{"label": axis.label, "up": axis.higher_is_better} for axis in report.axes],
        "points": {
            "index": [point.index for point in report.points],
            "text": [point.expression for point in report.points],
            "mean": [_short(point.mean) for point in report.points],
            "values": [[_short(point.values[place]) for point in report.points] for place in range(len(report.axes))],
            "front": [int(point.front) for point in report.points],
        },
        "steps": {
            "judged": [step.judged for step in report.steps],
            "seconds": [_short(step.core_seconds) for step in report.steps],
            "hypervolume": [_short(step.hypervolume) for step in report.steps],
            "best": [_short(step.best) for step in report.steps],
            "anchors": [[_short(step.anchors[place]) for step in report.steps] for place in range(len(report.anchors))],
        },
        "references": [
            {
                "name": one.name,
                "mean": _short(one.mean),
                "values": [_short(references.get(one.name, {}).get(axis.name)) for axis in report.axes],
            }
            for one in report.published
            if one.searched
        ],
        "responses": [_curves(one) for one in report.top],
        "rungs": _rungs(report),
    }


def _rungs(report: Report) -> dict[str, Any]:
    """The scores of candidates from rung to rung: of those that came furthest, if there are many, and of the best."""
    top = {int(one.row.id.rpartition("/")[2]) for one in report.top}
    paths = sorted(report.longer.paths.items(), key=lambda item: (item[0] not in top, -len(item[1]), -item[1][-1]))
    return {
        "labels": [f"{rung.steps:,} steps" for rung in report.longer.rungs],
        "reached": [rung.reached for rung in report.longer.rungs],
        "names": [f"{report.run.id}/{index}" if index in top else "" for index, _ in paths[:_PATHS]],
        "paths": [[_short(score) for score in path] for _, path in paths[:_PATHS]],
    }


def _shown(report: Report) -> TopLayer | None:
    """The layer at the top of the page: the verified one, or else the best by its scores in the search."""
    verified = None if report.verdict is None or report.verdict.layer is None else report.verdict.layer.id
    return next((one for one in report.top if one.row.id == verified), report.top[0] if report.top else None)


def _headline(report: Report) -> str:
    """What is verified, in a few words."""
    verdict, judged = report.verdict, report.summary.evaluations
    if not report.top:
        return "No layer scored yet"
    if verdict is None:
        return f"Not verified: the best of {judged:,} candidate{'' if judged == 1 else 's'} by its scores"
    if verdict.better and verdict.layer is not None:
        return f"Layer {verdict.layer.id} is better than {verdict.baseline}"
    return f"No layer of {judged:,} candidates is verified to be better than {verdict.baseline}"


def _compared_with(report: Report, shown: TopLayer | None) -> Mapping[str, Any] | None:
    """The published layer that a layer is compared with: BN-ReLU, or else the best one with a score.

    A search trains each layer only once, so its best layer owes something to luck. `again` holds the means of both
    layers when they were trained again, on the test split or else on held-out images.
    """
    scored = [one for one in report.published if one.mean is not None]
    if not scored or shown is None:
        return None
    reference = next((one for one in scored if one.name == "bn-relu"), scored[0])
    again = None
    for stage, where in _SCORED_ON.items():
        best, other = (one.samples.get(stage) for one in (shown.scores, reference))
        if best is not None and other is not None and again is None and best.by_seed and other.by_seed:
            again = {"where": where, "seeds": len(best.by_seed), "best": best.mean, "reference": other.mean}
    return {"name": reference.name, "mean": reference.mean, "again": again}


def _card(report: Report, one: TopLayer) -> dict[str, Any]:
    """The values that the template needs for one of the best layers."""
    size = 4
    for extent in _SHAPE:
        size *= extent
    known = zoo.get(one.row.name or "")
    return {
        "row": one.row,
        "others": one.others,
        "known": known is not None,
        "formula": mathml(one.row.graph),
        "graph": graph_svg(one.row.graph),
        "dots": dots([one.scores], report.published),
        "plan": str(one.plan),
        "fits": one.plan.fits and one.plan.cell is not None,
        "streaming": one.plan.passes,
        "floor": one.plan.floor,
        "size": size,
        "saved": len(one.plan.saved),
    }


def _curves(one: TopLayer) -> Mapping[str, Any]:
    curves: list[Sequence[float | None]] = [[_short(y) for y in ys] for ys in one.response.curves.values()]
    return {"x": [_short(x) for x in one.response.x], "scales": list(one.response.curves), "curves": curves}


def _short(value: float | None) -> float | None:
    """A number rounded to five digits, more than a chart can show; None for NaN."""
    return None if value is None or value != value else float(f"{value:.5g}")
