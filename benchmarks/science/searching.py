"""Numbers of the searches: quality over compute, and the savings of hurdles."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, pstdev, stdev
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.science.breeding import inheritance, turned_away
from evonas.front.result import Result
from evonas.judging.hurdles import Hurdles, checkpoints
from evonas.settings.candidate import Evaluation, OriginKind, Status
from evonas.settings.evaluation_protocol import EvaluationProtocol

CHANCE = 0.1
"""Chance accuracy for ten classes, which is the reference point of the hypervolume."""
POINTS = 60
"""Number of points of quality over compute."""
QUANTILES = (0.1, 0.25, 0.5, 0.75)

Number = dict[str, Any]


def account(label: str, result: Result, core_minutes: float) -> Number:
    """Summarise one run: what it judged and found within `core_minutes` of compute."""
    evaluations = _until(result, core_minutes)
    scored = [e for e in evaluations if e.status is Status.SCORED]
    top = sorted(scored, key=lambda e: -e.mean)[:10]
    judged = {e.index for e in evaluations}
    candidates = [c for c in result.store.candidates(result.run_id) if c.index in judged]
    kinds = {c.index: c.origin.kind for c in candidates}
    rows = result.best(3)
    return {
        "label": label,
        "seed": result.run.config.seed,
        "run": result.run_id,
        "judged": len(evaluations),
        "scored": len(scored),
        "mutants_judged": sum(kinds[e.index] is OriginKind.MUTATION for e in evaluations),
        "mutants_scored": sum(kinds[e.index] is OriginKind.MUTATION for e in scored),
        "wall_minutes": result.run.elapsed / 60,
        "best": top[0].mean,
        "top_10": fmean(e.mean for e in top),
        "anchor_spread": fmean(pstdev(e.scores.values()) for e in top),
        "over_time": over_time(evaluations, core_minutes),
        "inheritance": inheritance(candidates, evaluations),
        "turned_away": turned_away(candidates, evaluations),
        "layers": [row.as_dict() for row in rows],
    }


def _until(result: Result, core_minutes: float) -> list[Evaluation]:
    """Return the evaluations, in order of index, that fit into the compute."""
    spent, within = 0.0, []
    for evaluation in result.store.evaluations(result.run_id):
        spent += evaluation.core_seconds / 60
        if spent > core_minutes:
            break
        within.append(evaluation)
    return within


def over_time(evaluations: Sequence[Evaluation], core_minutes: float) -> dict[str, list[float]]:
    """Compute the hypervolume, the best mean and the mean of the ten best at equal steps of compute.

    The hypervolume is that of the anchors' accuracies above chance, scaled to 1 for perfect accuracies.
    """
    from pymoo.indicators.hv import HV

    objectives = max(len(e.scores) for e in evaluations)
    volume = HV(ref_point=np.full(objectives, -CHANCE))
    spent, scores = 0.0, np.empty((0, objectives))
    moments = np.linspace(0, core_minutes, POINTS + 1)[1:]
    curves: dict[str, list[float]] = {"minutes": moments.tolist(), "hypervolume": [], "best": [], "top_10": []}
    place = 0
    for moment in moments:
        while place < len(evaluations) and spent + evaluations[place].core_seconds / 60 <= moment:
            spent += evaluations[place].core_seconds / 60
            if evaluations[place].status is Status.SCORED:
                scores = np.vstack([scores, [list(evaluations[place].scores.values())]])
            place += 1
        means = np.sort(scores.mean(axis=1))[::-1]
        above = scores[(scores > CHANCE).all(axis=1)]
        curves["hypervolume"].append(float(volume(-above)) / (1 - CHANCE) ** objectives if len(above) else 0.0)
        curves["best"].append(float(means[0]) if len(means) else 0.0)
        curves["top_10"].append(float(means[:10].mean()) if len(means) else 0.0)
    return curves


def by_label(runs: Sequence[Number]) -> dict[str, Number]:
    """Compute means and standard deviations over seeds, by label."""
    table = {}
    for label in dict.fromkeys(run["label"] for run in runs):
        mine = [run for run in runs if run["label"] == label]
        columns = {
            name: [run[name] for run in mine] for name in ("judged", "scored", "best", "top_10", "anchor_spread")
        }
        columns["hypervolume"] = [run["over_time"]["hypervolume"][-1] for run in mine]
        table[label] = {
            name: {"mean": fmean(values), "spread": stdev(values) if len(values) > 1 else 0.0, "values": values}
            for name, values in columns.items()
        }
    return table


def anchors_agree(results: Sequence[Result]) -> Number:
    """Compute Spearman's correlation between the accuracies on two anchors, over all scored candidates."""
    scored = [e for r in results for e in r.store.evaluations(r.run_id) if e.status is Status.SCORED]
    names = list(scored[0].scores)
    scores = np.array([list(e.scores.values()) for e in scored])
    correlation = {
        f"{one} / {other}": float(spearmanr(scores[:, i], scores[:, j]).statistic)
        for i, one in enumerate(names)
        for j, other in enumerate(names)
        if i < j
    }
    return {"layers": len(scored), "correlation": correlation, "scores": scores[:: max(1, len(scores) // 400)].tolist()}


def hurdles(results: Sequence[Result]) -> Number:
    """Compute the effect of hurdles on runs that recorded checkpoints without rejecting candidates."""
    usable = [r for r in results if r.run.config.protocol.hurdle_steps and not r.run.config.protocol.hurdle_quantile]
    if not usable:
        return {}
    protocol = usable[0].run.config.protocol
    scored = [e for r in usable for e in r.store.evaluations(r.run_id) if e.status is Status.SCORED]
    final = np.array([e.mean for e in scored])
    agreement = {}
    for checkpoint in checkpoints(protocol):
        values = np.array([_value(e, checkpoint.name) for e in scored])
        agreement[checkpoint.name] = float(spearmanr(values, final).statistic)
    replays = [
        {"step": step, "quantile": quantile, **_replay(usable, protocol, step, quantile)}
        for step in (*protocol.hurdle_steps, None)
        for quantile in QUANTILES
    ]
    return {"runs": len(usable), "layers": len(scored), "agreement": agreement, "replays": replays}


def _value(evaluation: Evaluation, name: str) -> float:
    return next(o.value for o in evaluation.filters if o.name == name and o.value is not None)


def _replay(results: Sequence[Result], protocol: EvaluationProtocol, step: int | None, quantile: float) -> Number:
    """Replay runs with hurdles at the ends of anchors and, unless None, at one step: return savings and losses."""
    saved = spent = 0.0
    kept_best, kept_top = 0, []
    for result in results:
        window = Hurdles(EvaluationProtocol(**_settings(protocol, quantile)), result.run.config.population)
        scored = [e for e in result.store.evaluations(result.run_id) if e.status is Status.SCORED]
        top = {e.index for e in sorted(scored, key=lambda e: -e.mean)[:10]}
        survivors = set()
        for evaluation in scored:
            floors = window.floors()
            paid, whole = _cost(evaluation, protocol, floors, step)
            saved, spent = saved + whole - paid, spent + evaluation.core_seconds
            if paid == whole:
                survivors.add(evaluation.index)
            window.add(evaluation)
        best = max(scored, key=lambda e: e.mean)
        kept_best += best.index in survivors
        kept_top.append(len(top & survivors) / len(top))
    everything = sum(e.core_seconds for r in results for e in r.store.evaluations(r.run_id))
    return {
        "saved_of_scoring": saved / spent,
        "saved_of_run": saved / everything,
        "best_kept": kept_best,
        "top_10_kept": fmean(kept_top),
    }


def _settings(protocol: EvaluationProtocol, quantile: float) -> Number:
    return {"anchors": protocol.anchors, "hurdle_steps": protocol.hurdle_steps, "hurdle_quantile": quantile}


def _cost(evaluation: Evaluation, protocol: EvaluationProtocol, floors: Any, step: int | None) -> tuple[float, float]:
    """Return the core-seconds of training on the later anchors: up to the first failed hurdle, and in total."""
    later = protocol.anchors[1:]
    whole = sum(evaluation.seconds[a] for a in later)
    paid = 0.0
    for checkpoint in checkpoints(protocol):
        if checkpoint.step not in (step, None):
            continue
        behind = _value(evaluation, checkpoint.name) < floors.get(checkpoint.name, 0.0)
        if checkpoint.anchor in later:
            done = 1.0 if checkpoint.step is None else checkpoint.step / protocol.steps
            paid = sum(evaluation.seconds[a] for a in later[: later.index(checkpoint.anchor)])
            paid += done * evaluation.seconds[checkpoint.anchor]
        if behind:
            return paid, whole
    return whole, whole
