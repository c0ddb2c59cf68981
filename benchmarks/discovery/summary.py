"""The result of the study as JSON and as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from benchmarks.discovery.testing import by_seed, comparisons, winner_of
from benchmarks.training_rows import Row
from evonas.front.api import Result
from evonas.judging.hypervolume import Hypervolume
from evonas.records.evidence import best_known
from evonas.reruns.rerank_plan import unseen_anchor


def summary(results: Mapping[str, Mapping[int, Result]], rows: Sequence[Row]) -> dict[str, Any]:
    """Summarise searches by variant and seed, and the trainings of their winners."""
    first = next(iter(next(iter(results.values())).values())).run
    anchors, unseen = first.config.protocol.anchors, unseen_anchor(first)
    layers = dict.fromkeys(row.layer for row in rows)
    return {
        "environment": dict(first.environment),
        "anchors": list(anchors),
        "unseen": unseen,
        "searches": [
            {"variant": label, "seed": seed, **_search(result, rows, anchors, unseen)}
            for label, of_label in results.items()
            for seed, result in of_label.items()
        ],
        "layers": {layer: _layer(rows, layer, anchors, unseen) for layer in layers},
    }


def _search(result: Result, rows: Sequence[Row], anchors: Sequence[str], unseen: str | None) -> dict[str, Any]:
    run, totals, winner = result.run, result.summary, winner_of(result)
    verdict = result.verdict
    found = {
        "budget": run.config.budget,
        "judged": totals.evaluations,
        "scored": sum(count for status, count in totals.statuses.items() if status.value == "scored"),
        "minutes": run.elapsed / 60,
        "core_minutes": totals.core_seconds / 60,
        "verification_core_minutes": sum(one.seconds for one in result.store.retrainings(run.id)) / 60,
        "hypervolume": _hypervolume(result),
        **diversity(result),
        "verdict": None if verdict is None else str(verdict),
        "winner": winner,
    }
    if winner is not None:
        found["test"] = comparisons(rows, winner, anchors)
        found["unseen"] = comparisons(rows, winner, [unseen]) if unseen else []
    return found


def _hypervolume(result: Result) -> float:
    anchors = result.run.config.protocol.anchors
    found = Hypervolume(len(anchors))
    for scores in result.store.objectives(result.run_id, anchors)[1].tolist():
        found.add(scores)
    return found.value


def diversity(result: Result) -> dict[str, Any]:
    """Count families among the ten best layers of a search, and roots among the fifty best."""
    best = best_known(result.store, result.run, 50)
    rows = result.best(10)
    return {
        "families_of_ten": len({row.family for row in rows}),
        "roots_of_fifty": len({_root(result, known[0].index) for known in best}),
        "families": dict(Counter(row.family for row in result.best(50))),
        "best": [row.expression for row in rows],
    }


def _root(result: Result, index: int) -> int:
    while (parent := result.store.candidate(result.run_id, index).origin.parent) is not None:
        index = parent
    return index


def _layer(rows: Sequence[Row], layer: str, anchors: Sequence[str], unseen: str | None) -> dict[str, Any]:
    on = {name: by_seed(rows, layer, [name]) for name in (*anchors, *((unseen,) if unseen else ()))}
    overall = by_seed(rows, layer, anchors)
    return {
        "mean": fmean(overall.values()) if overall else None,
        "deviation": stdev(overall.values()) if len(overall) > 1 else None,
        "seeds": len(overall),
        "anchors": {name: fmean(scores.values()) for name, scores in on.items() if scores},
        "diverged": sum(row.diverged for row in rows if row.layer == layer),
    }


def table(document: Mapping[str, Any]) -> str:
    """Return the result for a terminal: for each search its winner, beside each published layer."""
    lines = []
    for name, layer in sorted(document["layers"].items(), key=lambda item: -(item[1]["mean"] or 0.0)):
        scores = "  ".join(f"{score:.4f}" for score in layer["anchors"].values())
        mean = "   none" if layer["mean"] is None else f"{layer['mean']:.4f}"
        lines.append(f"{mean}  {scores}  {layer['seeds']:2} seeds  {name}")
    for search in document["searches"]:
        lines.append("")
        lines.append(
            f"{search['variant']}, seed {search['seed']}: {search['judged']} judged, {search['scored']} scored, "
            f"{search['core_minutes']:.1f} core-minutes, hypervolume {search['hypervolume']:.4f}, "
            f"{search['families_of_ten']} families of ten, {search['roots_of_fifty']} roots of fifty"
        )
        lines.append(f"  winner {search['winner']}")
        for where in ("test", "unseen"):
            compared = [one for one in search.get(where, ()) if one["difference"] is not None]
            lines.append(f"  {where}: {'  '.join(map(_difference, compared))}")
    return "\n".join(lines)


def _difference(one: Mapping[str, Any]) -> str:
    p = "" if one["p"] is None else f" (p {one['p']:.4f})"
    return f"{one['published']} {one['difference']:+.4f}{p}"
