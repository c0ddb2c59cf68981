"""Numbers of the census: random layers, the noise of a score, and the savings and cost of each filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.science.census import ASCENT, LEARNS, Record
from evonas.settings.evaluation_protocol import EvaluationProtocol

DRAWS = 400
"""Number of random searches that are simulated for each set of filters."""
COMPUTE = 600.0
"""Core-seconds of each simulated search."""

Verdict = tuple[bool, float]
"""Whether a candidate passes, and the core-seconds of the decision."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A filter that reads its verdict from a record. If `trains`, its seconds are training that scoring continues."""

    read: Callable[[Record], Verdict]
    trains: bool = False


def mean_of(record: Record) -> float:
    """Return the mean accuracy over the anchors."""
    return fmean(trained["accuracy"] for trained in record["anchors"].values())


def census_numbers(records: Sequence[Record], protocol: EvaluationProtocol) -> dict[str, Any]:
    """Compute all numbers of the census, for JSON."""
    random = [r for r in records if r["kind"] == "random"]
    filters = filters_of(protocol)
    sets = {"every filter": list(filters), "no filter": []}
    sets |= {f"without {left_out}": [f for f in filters if f != left_out] for left_out in filters}
    return {
        "random": len(random),
        "means": [mean_of(r) for r in random],
        "anchors": _agreement(random),
        "noise": _noise(random),
        "filters": {name: _filter(random, judge) for name, judge in {**filters, **_ascents()}.items()},
        "searches": {name: _searched(random, [filters[f] for f in chosen]) for name, chosen in sets.items()},
        "stability": {kind: _stages([r for r in records if r["kind"] == kind]) for kind in ("random", "evolved")},
    }


def filters_of(protocol: EvaluationProtocol) -> dict[str, Judge]:
    """Return the filters of a protocol that need a network, as readers of a record."""
    first = protocol.anchors[0]

    def signal(record: Record) -> Verdict:
        return record["signal"]["reason"] is None, record["signal"]["seconds"]

    def early(step: int, floor: float) -> Callable[[Record], Verdict]:
        def judge(record: Record) -> Verdict:
            trained = record["anchors"][first]
            return trained["curve"][str(step)] >= floor, trained["seconds"] * step / protocol.steps

        return judge

    def quality(record: Record) -> Verdict:
        trained = record["anchors"][first]
        return trained["accuracy"] >= protocol.quality_floor, trained["seconds"]

    stages = zip(protocol.early_steps, protocol.early_floors, strict=True)
    trained = {f"early-{step}": Judge(early(step, floor), trains=True) for step, floor in stages}
    stable = {f"stability-{stage}": _stable_at(stage) for stage in protocol.stability_steps}
    return {"signal": Judge(signal), **stable, **trained, "quality": Judge(quality, trains=True)}


def _stable_at(stage: int) -> Judge:
    def read(record: Record) -> Verdict:
        exploded = record["stability"]["exploded"]
        return exploded is None or exploded > stage, record["stability"]["seconds"][str(stage)]

    return Judge(read)


def _ascents() -> dict[str, Judge]:
    return {f"stability-{stage}": _stable_at(stage) for stage in ASCENT}


def _agreement(records: Sequence[Record]) -> dict[str, float]:
    """Compute Spearman's correlation between anchors, over the layers that learn on at least one of them."""
    learning = [r for r in records if max(t["accuracy"] for t in r["anchors"].values()) >= LEARNS]
    names = list(records[0]["anchors"])
    columns = {name: [r["anchors"][name]["accuracy"] for r in learning] for name in names}
    return {
        f"{one} / {other}": float(spearmanr(columns[one], columns[other]).statistic)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
    }


def _noise(records: Sequence[Record]) -> dict[str, Any]:
    """Compare the difference between two seeds of a layer with that between layers, for means over the anchors.

    The standard deviation of one score is that of the differences between seeds, divided by √2.
    """
    pairs = np.array([[mean_of(r), fmean(r["again"].values())] for r in records if "again" in r])
    stable = np.array([r["stability"]["exploded"] is None for r in records if "again" in r])
    between = float(pairs.mean(axis=1).std(ddof=1))
    apart = pairs[:, 0] - pairs[:, 1]
    return {
        "layers": len(pairs),
        "pairs": pairs.tolist(),
        "between_layers": between,
        "within_layer": float(np.sqrt((apart**2).mean() / 2)),
        "correlation": float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic),
        "stable": {"layers": int(stable.sum()), "within_layer": _within(apart[stable])},
        "unstable": {"layers": int((~stable).sum()), "within_layer": _within(apart[~stable])},
    }


def _within(apart: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    return float(np.sqrt((apart**2).mean() / 2)) if len(apart) else None


def _filter(records: Sequence[Record], judge: Judge) -> dict[str, Any]:
    """Apply one filter alone to every candidate: count rejections, and those that learn, and time rejections."""
    verdicts = [judge.read(r) for r in records]
    rejected = [r for r, (passes, _) in zip(records, verdicts, strict=True) if not passes]
    costs = [seconds for passes, seconds in verdicts if not passes]
    learning = [r for r in records if mean_of(r) >= LEARNS]
    return {
        "judged": len(records),
        "rejected": len(rejected),
        "learning": len(learning),
        "rejected_that_learn": sum(mean_of(r) >= LEARNS for r in rejected),
        "best_rejected": max((mean_of(r) for r in rejected), default=None),
        "seconds_to_reject": median(costs) if costs else None,
    }


def _searched(records: Sequence[Record], judges: Sequence[Judge]) -> dict[str, Any]:
    """Simulate random searches of equal compute among the candidates of the census, with some filters.

    Candidates are drawn at random with replacement, so a search may be longer than the census.
    """
    outcomes = [_outcome(record, judges) for record in records]
    cost, score = (np.array(column) for column in zip(*outcomes, strict=True))
    rng = np.random.default_rng(0)
    draws = int(np.ceil(COMPUTE / cost.mean() * 3)) + 10
    order = rng.integers(len(records), size=(DRAWS, draws))
    spent = cost[order].cumsum(axis=1)
    found = np.maximum.accumulate(score[order], axis=1)
    moments = np.linspace(0, COMPUTE, 61)[1:]
    best = [[found[d, max(0, int(np.searchsorted(spent[d], m)) - 1)] for m in moments] for d in range(DRAWS)]
    table = np.array(best)
    return {
        "seconds_a_candidate": float(cost.mean()),
        "seconds": moments.tolist(),
        "best": table.mean(axis=0).tolist(),
        "final": float(table[:, -1].mean()),
        "candidates": float(COMPUTE / cost.mean()),
    }


def _outcome(record: Record, judges: Sequence[Judge]) -> tuple[float, float]:
    """Return the core-seconds spent on a candidate, and its mean accuracy, or 0 if a filter rejects it.

    Filters that train on the first anchor continue the training of the previous one, and scoring that of the last.
    """
    fixed = trained = 0.0
    for judge in judges:
        passes, seconds = judge.read(record)
        if judge.trains:
            trained = seconds
        else:
            fixed += seconds
        if not passes:
            return fixed + trained, 0.0
    return fixed + sum(t["seconds"] for t in record["anchors"].values()), mean_of(record)


def _stages(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Evaluate the gradient ascent stage by stage, for candidates that pass the signal filter."""
    left = [r for r in records if r["signal"]["reason"] is None]
    judged = len(left)
    rows = []
    for stage in ASCENT:
        fallen = [r for r in left if r["stability"]["exploded"] is not None and r["stability"]["exploded"] <= stage]
        seconds = [r["stability"]["seconds"][str(stage)] for r in left]
        learn = [r for r in fallen if "anchors" in r and mean_of(r) >= LEARNS]
        rows.append(
            {
                "stage": stage,
                "of": judged,
                "judged": len(left),
                "rejected": len(fallen),
                "rejected_that_learn": len(learn),
                "seconds_to_stage": median(seconds) if seconds else None,
            }
        )
        left = [r for r in left if r not in fallen]
    return rows
