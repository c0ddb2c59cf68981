"""Why a run that has ended scored nothing, and what to change, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from evonas.errors import shorten
from evonas.judging.floors import run_floors, stages
from evonas.records.run_info import RunInfo, RunStatus, RunSummary
from evonas.settings.candidate import DIVERGED, Status

if TYPE_CHECKING:
    from evonas.records.store import Store

_REMEDIES = {
    "signal": "`--set protocol.signal=false` leaves this filter out",
    "stability": "`--set protocol.stability_steps=[]` leaves this filter out",
    "hurdle": "`--set protocol.hurdle_quantile=0` lets every candidate pass it",
}


def why_nothing_was_scored(store: Store, run_id: int) -> str | None:
    """The explanation of a run that has finished without a scored candidate, as lines of text.

    Args:
        store: the store that has the run.
        run_id: the run.

    Returns:
        The text; None for a run that has a scored candidate, or that has not finished although something did not fail.
    """
    run, summary = store.run(run_id), store.summary(run_id)
    failing = run.status is RunStatus.INTERRUPTED and 0 < summary.evaluations == summary.statuses[Status.FAILED]
    if summary.statuses[Status.SCORED] or not (run.status is RunStatus.FINISHED or failing):
        return None
    if not summary.candidates:
        return _nothing_drawn(run)
    lines = []
    failed, rejected = summary.statuses[Status.FAILED], summary.statuses[Status.REJECTED]
    if failed:
        lines += _failures(store, run, failed, summary.evaluations)
    if rejected:
        lines += _rejections(run, summary, rejected)
    return "\n".join(lines)


def _nothing_drawn(run: RunInfo) -> str:
    return (
        f"run {run.id} scored nothing, because no candidate was drawn: the cheap filters rejected everything that was "
        f"proposed from the space {run.config.space.name}. Choose a space with more operations or nodes, or a smaller "
        f"`--set twins`."
    )


def _failures(store: Store, run: RunInfo, failed: int, judged: int) -> list[str]:
    reasons = Counter(e.reason for e in store.evaluations(run.id) if e.status is Status.FAILED)
    ((reason, count),) = reasons.most_common(1)
    own = run.config.protocol.score
    remedy = f"Mend {own}, and start a new run" if own else "`evonas doctor` checks the machine"
    return [
        f"run {run.id} scored nothing: {failed:,} of {judged:,} candidates failed.",
        f"Most often ({count:,} times) the reason was: {shorten(reason, 300)}.",
        f"{remedy}; `--set deadline=SECONDS` allows a candidate more time.",
    ]


def _rejections(run: RunInfo, summary: RunSummary, rejected: int) -> list[str]:
    counts = {name: found.rejected for name, found in summary.filters.items() if found.rejected}
    name = max(counts, key=lambda one: counts[one])
    reason, times = next(iter(summary.filters[name].reasons.items()))
    fell = ", ".join(f"{one} {count:,}" for one, count in counts.items())
    lines = [
        f"run {run.id} scored nothing: filters turned away {rejected:,} of {summary.evaluations:,} candidates: {fell}.",
        f"Most fell to the filter {name}, {times:,} of them with the reason: {reason}.",
    ]
    protocol = run.config.protocol
    if protocol.score and reason == DIVERGED:
        return [
            *lines,
            f"What to change: {protocol.score} reports what is not finite: see its learning rate and its loss.",
        ]
    floors = run_floors(protocol, run.checkpoints, run.config.floor_layers) or {}
    if floors:
        lines.append(f"The floors were {_numbers(floors)}.")
    lines += _published(run, name)
    return [*lines, _advice(run, name)]


def _published(run: RunInfo, name: str) -> list[str]:
    """What published layers have at the filter, or else their scores."""
    values = {layer: {v.checkpoint: v.value for v in found} for layer, found in run.checkpoints.items()}
    there = {layer: value for layer, found in values.items() if (value := found.get(name)) is not None}
    if there:
        return [f"Published layers have there: {_numbers(there)}."]
    means = {layer: fmean(scores.values()) for layer, scores in run.references.items() if scores}
    return [f"Published layers score under this protocol: {_numbers(means)}."] if means else []


def _advice(run: RunInfo, name: str) -> str:
    protocol = run.config.protocol
    stage = next((stage for stage in stages(protocol) if stage.name == name), None)
    if stage is None:
        remedy = _REMEDIES.get(name.partition("-")[0].partition(" ")[0], "it is a filter of your own: see --filter")
        met = [v for values in run.checkpoints.values() for v in values if v.checkpoint == name]
        if met and not any(value.reason for value in met):
            return (
                f"What to change: published layers pass this filter, so judge more candidates (--budget); or {remedy}."
            )
        return f"What to change: {remedy}."
    if protocol.floors == "absolute":
        return (
            f"What to change: {stage.setting} is an accuracy, which has to suit the number of classes; lower it, or "
            f"set protocol.floors=published with shares such as 0.2, so that floors follow from the task."
        )
    return (
        f"What to change: lower {stage.setting}, a share of the way from chance to what published layers have; or "
        f"train for longer (--steps, protocol.quality_step), or judge more candidates (--budget), of which few learn."
    )


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in values.items())
